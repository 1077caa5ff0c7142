"""BLEU, ROUGE and edit distances, computed by their standard libraries."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from kauldron._base import errors
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import _text_words, _texts

_ATTRIBUTES = (
    (_texts.TextMetric.__doc__ or "").split("Attributes:\n")[1].split("    Raises:")[0]
)


def _documented(cls: type) -> type:
    """Adds the attributes of the base to those of a docstring."""
    cls.__doc__ = (cls.__doc__ or "").replace(
        "    Attributes:\n", f"    Attributes:\n{_ATTRIBUTES.rstrip()}\n"
    )
    return cls


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Bleu(_texts.TextMetric):
    """BLEU of a corpus in [0, 100], by sacrebleu: shares of n-grams that are right.

    N-grams of all pairs are counted together: not the mean over pairs.

    Attributes:
      tokenize: How sacrebleu splits strings into words: `'13a'`, `'intl'`, `'zh'`,
        `'char'`, `'none'`, ...
      is_lowercase: Whether capitals don't matter.
      max_order: Longest n-grams.

    Raises:
      ValueError: If these are not texts, not as many, or a parameter is out of range.
      ImportError: If sacrebleu is not installed: `pip install 'kauldron[text]'`.

    Reference: Papineni et al. 2002, BLEU; Post 2018, A Call for Clarity in Reporting BLEU
    Scores, arXiv:1804.08771 (the signature of the value is `nrefs:1|tok:<tokenize>|
    smooth:exp`).
    """

    tokenize: str = "13a"
    is_lowercase: bool = False
    max_order: int = 4

    _library: ClassVar[str] = "sacrebleu.metrics"

    def __post_init__(self) -> None:
        if self.max_order < 1:
            raise ValueError(
                f"`max_order` of Bleu must be at least 1: got {self.max_order}."
            )

    def _load(self) -> Any:
        library = super()._load()
        known = list(library.BLEU.TOKENIZERS)
        if self.tokenize not in known:
            raise ValueError(
                f"`tokenize` of Bleu must be one of {known}: got {self.tokenize!r}."
                + errors.did_you_mean(self.tokenize, known)
            )
        return library

    def _score(self, preds: list[Any], targets: list[Any]) -> np.ndarray:
        if not preds:
            return np.asarray(np.nan)
        is_ids = not isinstance(preds[0], str)
        scorer = self._load().BLEU(
            tokenize="none" if is_ids else self.tokenize,
            lowercase=self.is_lowercase,
            max_ngram_order=self.max_order,
            force=is_ids,  # no warning that the texts look tokenized
        )
        preds, targets = map(_ids_to_words, (preds, targets))
        return np.asarray(scorer.corpus_score(preds, [targets]).score)


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rouge(_texts.TextMetric):
    """F-measures of common n-grams and subsequences, means over pairs, by rouge-score.

    Attributes:
      kinds: Which: `'rouge1'`, `'rouge2'`, ... count n-grams; `'rougeL'` takes the longest
        common subsequence, `'rougeLsum'` that of lines.
      use_stemmer: Whether English words are reduced to their stems; for the first two
        ways to tokenize.
      tokenize: How strings are split: `'words'` of any script (runs of letters, marks and
        digits; in scripts without spaces, such as Chinese or Thai, single letters),
        `'ascii'` (the same of a-z and digits alone, as rouge-score itself), `'char'`
        (characters but spaces), `'none'` (at spaces), or as `Bleu` does: `'13a'`,
        `'intl'`, `'zh'`. Capitals matter only with `'none'`.

    Returns of `compute`: a dict, kind to value in [0, 1]. A pair of equal texts has 1, if
    there is a word in it; of ASCII texts, `'words'` and `'ascii'` give the same.

    Raises:
      ValueError: If these are not texts, or not as many, or a parameter is unknown.
      ImportError: If rouge-score is not installed: `pip install 'kauldron[text]'`.

    Reference: Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries.
    """

    kinds: Sequence[str] = ("rouge1", "rouge2", "rougeL")
    use_stemmer: bool = False
    tokenize: str = "words"

    _library: ClassVar[str] = "rouge_score.rouge_scorer"

    def __post_init__(self) -> None:
        wrong = [k for k in self.kinds if not re.fullmatch(r"rouge([1-9]|L|Lsum)", k)]
        if wrong or not self.kinds:
            raise ValueError(
                "`kinds` of Rouge are 'rouge1', 'rouge2', ..., 'rougeL' and 'rougeLsum': "
                f"got {list(self.kinds)}."
            )
        if self.tokenize not in _text_words.SPLITS:
            raise ValueError(
                f"`tokenize` of Rouge must be one of {list(_text_words.SPLITS)}: got "
                f"{self.tokenize!r}."
                + errors.did_you_mean(self.tokenize, _text_words.SPLITS)
            )
        if self.use_stemmer and self.tokenize not in ("words", "ascii"):
            raise ValueError(
                "`use_stemmer` of Rouge needs words: got "
                f"`tokenize={self.tokenize!r}`, which has none. Use 'words' or 'ascii'."
            )

    def __metric_names__(self) -> list[str] | None:
        return list(self.kinds)

    def _score(self, preds: list[Any], targets: list[Any]) -> dict[str, np.ndarray]:
        is_ids = bool(preds) and not isinstance(preds[0], str)
        split = _text_words.SPLITS["none" if is_ids else self.tokenize]
        use_stemmer = self.use_stemmer and not is_ids
        scorer = self._load().RougeScorer(
            list(self.kinds),
            tokenizer=_text_words.Tokenizer(split, use_stemmer=use_stemmer),
        )
        preds, targets = map(_ids_to_words, (preds, targets))
        scores = [scorer.score(t, p) for p, t in zip(preds, targets, strict=True)]
        return {
            kind: _mean(np.array([s[kind].fmeasure for s in scores]))
            for kind in self.kinds
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ErrorRate(_texts.TextMetric):
    _library: ClassVar[str] = "rapidfuzz.distance"

    def _score(self, preds: list[Any], targets: list[Any]) -> np.ndarray:
        num_edits, num_units = self._count(preds, targets)
        if not len(num_edits):
            return np.asarray(np.nan)
        return np.asarray(num_edits.sum() / max(num_units.sum(), 1))

    def _count(
        self, preds: list[Any], targets: list[Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the edits and the units of the reference of each pair,
        `Int64["n"]`."""
        levenshtein = self._load().Levenshtein
        split = [tuple(map(self._split, texts)) for texts in (preds, targets)]
        edits = [levenshtein.distance(p, t) for p, t in zip(*split, strict=True)]
        units = [len(target) for target in split[1]]
        return np.asarray(edits, np.int64), np.asarray(units, np.int64)

    def _split(self, text: str | list[int]) -> Any:
        raise NotImplementedError


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class WordErrorRate(_ErrorRate):
    """Edits of words (insertions, deletions, replacements) per word of the references.

    Of all pairs together. Words are what spaces separate; token ids are words. May be
    above 1. With references that are all empty, the number of inserted words. Of scripts
    without spaces, such as Chinese, take the `CharErrorRate`.

    Attributes:

    Raises:
      ValueError: If these are not texts, or not as many.
      ImportError: If rapidfuzz is not installed: `pip install 'kauldron[text]'`.

    Reference: Levenshtein 1966, Binary codes capable of correcting deletions, insertions,
    and reversals.
    """

    def _split(self, text: str | list[int]) -> Any:
        return text.split() if isinstance(text, str) else text


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class CharErrorRate(_ErrorRate):
    """Edits of characters per character of the references; see `WordErrorRate`.

    Attributes:

    Raises:
      ValueError: If these are not texts, not as many, or token ids without `decode`.
      ImportError: If rapidfuzz is not installed: `pip install 'kauldron[text]'`.

    Reference: Levenshtein 1966, Binary codes capable of correcting deletions, insertions,
    and reversals.
    """

    @typechecked
    def get_state(
        self,
        preds: _texts.Texts,
        targets: _texts.Texts,
        mask: Array | float | None = None,
    ) -> _texts.TextState:
        state = super().get_state(preds=preds, targets=targets, mask=mask)
        if state.kind == "tokens" and self.decode is None:
            raise ValueError(
                "CharErrorRate compares characters: token ids need `decode=`, a function "
                "from a list of ids to a string. (WordErrorRate compares ids.)"
            )
        return state

    def _split(self, text: str | list[int]) -> Any:
        return text


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class EditDistance(_ErrorRate):
    """Edits from each text to its reference, mean over pairs.

    Characters are edited; without `decode`, token ids.

    Attributes:

    Raises:
      ValueError: If these are not texts, or not as many.
      ImportError: If rapidfuzz is not installed: `pip install 'kauldron[text]'`.

    Reference: Levenshtein 1966, Binary codes capable of correcting deletions, insertions,
    and reversals.
    """

    def _score(self, preds: list[Any], targets: list[Any]) -> np.ndarray:
        num_edits, _ = self._count(preds, targets)
        return _mean(num_edits)

    def _split(self, text: str | list[int]) -> Any:
        return text


def _mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean, `Float64[""]`; NaN of nothing."""
    return np.asarray(values.mean() if len(values) else np.nan)


def _ids_to_words(texts: list[Any]) -> list[str]:
    return [x if isinstance(x, str) else " ".join(map(str, x)) for x in texts]
