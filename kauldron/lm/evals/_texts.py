"""Metrics of written texts: exact match, pass@k, whether instructions are followed."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Array, Float, Int
from kauldron.lm.evals import _instructions
from kauldron.lm.losses import _checks


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactMatch(metrics.Metric):
    """Share of texts that are the expected answer.

    Attributes:
      preds: Key to texts, a list of strings.
      targets: Key to answers, a list of strings; or of lists, one of which is to match.
      pattern: Regular expression of the answer within a text, its first group if there
        is one, such as `r"answer is (-?\\d+)"`; the last match counts, and a text without
        one is wrong. `None` compares the whole text.
      ignores_case: Whether capitals matter not.
      ignores_punctuation: Whether only letters, digits and single spaces are compared.

    Raises:
      ValueError: If there are not as many answers as texts, or the pattern is none.
    """

    preds: kontext.Key = "preds.text"
    targets: kontext.Key = kontext.REQUIRED
    pattern: str | None = None
    ignores_case: bool = False
    ignores_punctuation: bool = False

    State = metrics.AverageState

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.pattern or "")
        except re.error as e:
            raise ValueError(
                f"`pattern` of ExactMatch is no regular expression: {self.pattern!r} ({e})."
            ) from None

    def get_state(
        self, preds: Sequence[str], targets: Sequence[Any]
    ) -> metrics.AverageState:
        check_number(self, preds, targets=targets)
        pairs = zip(preds, targets, strict=True)
        return average([self.is_match(text, answer) for text, answer in pairs])

    def is_match(self, text: str, answer: str | Sequence[str]) -> bool:
        """Whether a text is the answer, or one of several."""
        answers = [answer] if isinstance(answer, str) else list(answer)
        if self.pattern is not None:
            found = list(re.finditer(self.pattern, text))
            if not found:
                return False
            text = found[-1][1 if found[-1].re.groups else 0] or ""
        return self._plain(text) in map(self._plain, answers)

    def _plain(self, text: str) -> str:
        text = text.strip()
        if self.ignores_case:
            text = text.casefold()
        if self.ignores_punctuation:
            text = re.sub(r"[^\w\s]", "", text)
            text = " ".join(text.split())
        return text


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Returns how likely one of `k` samples is correct, estimated without bias.

    `1 - C(n - c, k) / C(n, k)`: of all choices of `k` of the `n` samples, the share that
    has one of the `c` correct ones.

    Args:
      num_samples: How many samples there are, at least `k`.
      num_correct: How many of them are correct.
      k: How many may be tried, >= 1.

    Raises:
      ValueError: If the numbers don't fit.

    Reference: Chen et al. 2021, Evaluating Large Language Models Trained on Code, eq. 1,
    arXiv:2107.03374.
    """
    if not 1 <= k <= num_samples or not 0 <= num_correct <= num_samples:
        raise ValueError(
            "pass@k needs 1 <= k <= num_samples and 0 <= num_correct <= num_samples: got "
            f"k={k}, num_samples={num_samples}, num_correct={num_correct}."
        )
    wrong = num_samples - num_correct
    return 1.0 - math.comb(wrong, k) / math.comb(num_samples, k)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassAtK(metrics.Metric):
    """How likely one of `k` samples of a problem is correct, a mean over problems.

    Attributes:
      preds: Key to texts, a list of strings.
      targets: Key to what `is_correct` compares them with.
      problem: Key to names of the problems, strings or numbers; samples of one name belong
        together.
      is_correct: Function from text and target to bool, such as running its tests, or
        `kd.lm.ExactMatch(...).is_match`.
      k: How many may be tried; several give a value each, `pass@1`, `pass@10`.

    Returns of `compute`: `{"pass@<k>": value}`.

    Raises:
      ValueError: In `compute`, if a problem has fewer samples than `k`.
    """

    preds: kontext.Key = "preds.text"
    targets: kontext.Key = kontext.REQUIRED
    problem: kontext.Key = kontext.REQUIRED
    is_correct: Callable[[str, Any], bool]
    k: Sequence[int] = (1,)

    @flax.struct.dataclass
    class State(metrics.AutoState):
        """Each sample: its problem, and whether it is correct."""

        problems: Array["*n"] = metrics.concat_field()
        is_correct: Int["*n"] = metrics.concat_field()

        def compute(self) -> dict[str, np.ndarray]:
            samples = super().compute()
            if samples.problems is None:
                return _checks.undefined(self.parent)
            _, at = np.unique(np.asarray(samples.problems, str), return_inverse=True)
            totals = np.bincount(at)
            rights = np.bincount(at, weights=samples.is_correct).astype(int)
            pairs = list(zip(totals.tolist(), rights.tolist(), strict=True))
            return {
                f"pass@{k}": np.asarray(
                    np.mean([pass_at_k(*pair, k) for pair in pairs])
                )
                for k in self.parent.k
            }

    def __metric_names__(self) -> list[str]:
        return [f"pass@{k}" for k in self.k]

    def get_state(
        self, preds: Sequence[str], targets: Sequence[Any], problem: Sequence[Any]
    ) -> State:
        check_number(self, preds, targets=targets, problem=problem)
        rights = [
            self.is_correct(text, target)
            for text, target in zip(preds, targets, strict=True)
        ]
        names = np.array([str(name) for name in problem], object)
        return self.State(problems=names, is_correct=np.array(rights, np.int32))


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstructionFollowing(metrics.Metric):
    """Whether texts do what instructions say that a program can check.

    An instruction is a dict with its `kind`, one of `kd.lm.INSTRUCTIONS`, and the numbers
    or words that it takes: `{"kind": "max_words", "number": 50}`.

    Attributes:
      preds: Key to texts, a list of strings.
      instructions: Key to lists of instructions, one list for each text.

    Returns of `compute`: `{"prompt", "instruction"}`: the share of texts that follow all
    of theirs, and the share of instructions that are followed.

    Raises:
      ValueError: If an instruction is unknown, or lacks something.

    Reference: Zhou et al. 2023, Instruction-Following Evaluation for Large Language Models,
    arXiv:2311.07911.
    """

    preds: kontext.Key = "preds.text"
    instructions: kontext.Key = kontext.REQUIRED

    @flax.struct.dataclass
    class State(metrics.AutoState):
        """Counts."""

        followed: Float["*n"] = metrics.sum_field()
        given: Float["*n"] = metrics.sum_field()
        all_followed: Float["*n"] = metrics.sum_field()
        texts: Float["*n"] = metrics.sum_field()

        def compute(self) -> dict[str, np.ndarray]:
            counts = super().compute()
            if counts.texts is None or not counts.texts:
                return _checks.undefined(self.parent)
            return {
                "prompt": np.asarray(counts.all_followed / counts.texts),
                "instruction": np.asarray(counts.followed / max(counts.given, 1)),
            }

    def __metric_names__(self) -> list[str]:
        return ["prompt", "instruction"]

    def get_state(
        self,
        preds: Sequence[str],
        instructions: Sequence[Sequence[Mapping[str, Any]]],
    ) -> State:
        check_number(self, preds, instructions=instructions)
        results = [
            [_instructions.is_followed(text, one) for one in given]
            for text, given in zip(preds, instructions, strict=True)
        ]
        return self.State(
            followed=np.float32(sum(map(sum, results))),
            given=np.float32(sum(map(len, results))),
            all_followed=np.float32(sum(map(all, results))),
            texts=np.float32(len(results)),
        )


def average(values: Sequence[bool]) -> metrics.AverageState:
    """Returns the mean of values on the host."""
    return metrics.AverageState(
        total=np.float32(sum(values)), count=np.float32(len(values))
    )


def check_number(owner: Any, preds: Sequence[str], **others: Sequence[Any]) -> None:
    """Raises ValueError unless there is one of each for each text."""
    for name, values in others.items():
        if len(values) != len(preds):
            raise ValueError(
                f"{type(owner).__name__} needs one of `{name}` for each text: got "
                f"{len(values)} (key {getattr(owner, name)!r}) for {len(preds)} texts."
            )
