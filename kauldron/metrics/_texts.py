"""Text-pair metrics: what all metrics of generated text share.

Texts come as strings, as UTF-8 bytes, or as token ids. Bytes and ids can pass through jit.
All are kept in host memory, and scored at the end as one corpus: the value does not depend
on the batches.

Strings are compared in the normal form NFC: a letter with an accent is the same whether it
is one character or two. What merely looks alike (full width, ligatures) is not.
"""

from __future__ import annotations

import dataclasses
import importlib
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Bool, Int, PyTree, typechecked
from kauldron.metrics import auto_state, base, exact_sums

Texts: TypeAlias = Array | Sequence[Any]
"""Strings `Array["*b"]` or a list of them; or bytes or token ids `Int["*b n"]`."""


@flax.struct.dataclass
class TextState(auto_state.AutoState):
    """All pairs of texts seen.

    Attributes:
      preds: Strings, or bytes or token ids, -1 for none.
      targets: As `preds`.
      is_counted: Which pairs count.
      kind: What the numbers are: `'bytes'`, `'tokens'`, or `'strings'` if there are none.
    """

    preds: Array["n"] | Int["n _length"] = auto_state.concat_field()
    targets: Array["n"] | Int["n _length"] = auto_state.concat_field()
    is_counted: Bool["n"] = auto_state.concat_field()
    kind: str = auto_state.static_field("strings")

    def merge(self, other: Self) -> Self:
        if self._is_empty or other._is_empty:
            return super().merge(other)
        # Batches may be filled up to different lengths.
        fields = {}
        for name in ("preds", "targets"):
            both = getattr(self, name), getattr(other, name)
            width = max(map(_width, both))
            fields[name] = [_widen(x, width) for x in both]
        a = dataclasses.replace(self, **{k: v[0] for k, v in fields.items()})
        b = dataclasses.replace(other, **{k: v[1] for k, v in fields.items()})
        return super(TextState, a).merge(b)

    def compute(self) -> Any:
        """Returns the score; 0 if there are no pairs."""
        data = super().compute()
        if data.preds is None:
            return self.parent._score([], [])
        keep = np.asarray(data.is_counted, bool)
        return self.parent._score(
            *(self._to_texts(x[keep]) for x in (data.preds, data.targets))
        )

    def _to_texts(self, rows: np.ndarray) -> list[Any]:
        """Returns strings in NFC, or lists of token ids."""
        if self.kind == "strings":
            texts = [x.decode() if isinstance(x, bytes) else str(x) for x in rows]
            return list(map(_normalize, texts))
        lists = [row[row >= 0].tolist() for row in np.asarray(rows)]
        if self.kind == "bytes":
            texts = [bytes(x).decode("utf-8", "replace") for x in lists]
            return list(map(_normalize, texts))
        decode = self.parent.decode
        return lists if decode is None else [_normalize(decode(x)) for x in lists]


def _normalize(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _width(value: PyTree) -> int:
    return max((x.shape[1] for x in jax.tree.leaves(value) if x.ndim == 2), default=0)


def _widen(value: PyTree, width: int) -> Any:
    """Returns the tree with rows of numbers filled up with -1."""
    leaves = jax.tree.leaves(value)
    if all(x.ndim != 2 or x.shape[1] == width for x in leaves):
        return value
    module = jnp if exact_sums.is_traced(value) else np

    def pad(x: Array) -> Any:
        fill = ((0, 0), (0, width - x.shape[1]))
        return module.pad(x, fill, constant_values=-1)

    return jax.tree.map(pad, exact_sums.to_host(value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextMetric(base.Metric):
    """Base of metrics of pairs of texts, each with one reference.

    Strings are compared in the normal form NFC of Unicode. The value of no pairs is
    NaN.

    Attributes:
      preds: Key to generated texts: strings `Array["*b"]` (an array or a list; these
        cannot pass through jit), UTF-8 bytes `UInt8["*b n"]` filled up with zeros, or
        token ids `Int["*b n"]`.
      targets: Key to reference texts, of the same kind and number.
      mask: Key to which pairs count, `Array["*b"]` or `Array["*b 1"]`. (Not weights.)
      decode: Function from a list of token ids to a string, such as that of a
        tokenizer. `None` compares the ids, each for a word.
      pad_id: Token id that stands for nothing; `None` if there is none.
      end_id: Token id that ends a text, with all that follows; `None` if there is none.

    Raises:
      ValueError: If these are not texts, or not as many.
      ImportError: If the library that scores is not installed.
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    decode: Callable[[list[int]], str] | None = None
    pad_id: int | None = 0
    end_id: int | None = None

    State = TextState

    _library: ClassVar[str]

    @typechecked
    def get_state(
        self, preds: Texts, targets: Texts, mask: Array | float | None = None
    ) -> TextState:
        self._load()  # reports a missing library before anything is measured
        preds, kind = self._to_rows(preds, "preds")
        targets, other_kind = self._to_rows(targets, "targets")
        if kind != other_kind or len(preds) != len(targets):
            raise ValueError(
                f"{type(self).__name__} compares pairs of texts of one kind: got "
                f"{len(preds)} {kind} (key {self.preds!r}) and {len(targets)} "
                f"{other_kind} (key {self.targets!r})."
            )
        mask = jnp.ones(len(preds)) if mask is None else jnp.asarray(mask)
        if mask.size != len(preds):
            raise ValueError(
                f"The mask of {type(self).__name__} says which of {len(preds)} pairs "
                f"count: got shape {mask.shape}."
            )
        return self.State(
            preds=preds,
            targets=targets,
            is_counted=mask.ravel().astype(bool),
            kind=kind,
        )

    def _to_rows(self, texts: Texts, name: str) -> tuple[Any, str]:
        """Returns strings `Array["n"]` or numbers `Int32["n length"]`, and which kind
        they are."""
        if not isinstance(texts, jax.Array):
            texts = np.asarray(texts)
            if texts.dtype.kind in "OSUT":
                return texts.astype(object).ravel(), "strings"
        if not jnp.issubdtype(texts.dtype, jnp.integer) or texts.ndim < 1:
            raise ValueError(
                f"{type(self).__name__} needs strings, UTF-8 bytes `u8[*b n]` or token "
                f"ids `i[*b n]`: key {getattr(self, name)!r} is {texts.dtype} "
                f"{texts.shape}."
            )
        is_bytes = texts.dtype == np.uint8
        rows = jnp.reshape(texts, (-1, texts.shape[-1])).astype(jnp.int32)
        pad_id, end_id = (0, None) if is_bytes else (self.pad_id, self.end_id)
        is_text = rows >= 0
        if pad_id is not None:
            is_text &= rows != pad_id
        if end_id is not None:
            is_text &= jnp.cumsum(rows == end_id, axis=-1) == 0
        return jnp.where(is_text, rows, -1), "bytes" if is_bytes else "tokens"

    def _load(self) -> Any:
        """Returns the library that scores."""
        try:
            return importlib.import_module(self._library)
        except ImportError as e:
            library = self._library.split(".", maxsplit=1)[0].replace("_", "-")
            raise ImportError(
                f"{type(self).__name__} needs {library} ({e}): "
                "`pip install 'kauldron[text]'`."
            ) from e

    def _score(self, preds: list[Any], targets: list[Any]) -> Any:
        """Returns the value of a corpus of strings or lists of token ids.

        Without any pairs a metric is NaN.
        """
        raise NotImplementedError
