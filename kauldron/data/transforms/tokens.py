"""Transforms of token sequences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron.data import _errors
from kauldron.data.transforms import _numbers, base

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class PadOrTruncateTokens(base.ElementWiseTransform):
    """Gives token sequences `[n ...]` one length, so that they can be batched.

    Attributes:
      length: Number of tokens of the result, >= 1.
      pad_id: Token that is appended to shorter sequences.
      truncate: Which end longer sequences lose: 'right', 'left', or 'error' to refuse.
      mask_key: If given, `bool[length]` is added under this key: true for real tokens.

    Raises:
      DataError: If a sequence is longer and `truncate='error'`, or its dtype cannot hold
        `pad_id`: -100 in uint16, say.
    """

    length: int
    pad_id: int = 0
    truncate: str = "right"
    mask_key: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 1:
            raise _errors.DataError(
                f"PadOrTruncateTokens: `length` must be at least 1: got {self.length}."
            )
        if self.truncate not in ("right", "left", "error"):
            raise _errors.DataError(
                "PadOrTruncateTokens: `truncate` is 'right', 'left' or 'error': got "
                f"{self.truncate!r}."
            )

    def map(self, features: Mapping[str, Any]) -> Any:
        changed = super().map(features)
        if self.mask_key is None:
            return changed
        if self.mask_key in features:
            raise _errors.DataKeyError(
                f"PadOrTruncateTokens: the elements already have {self.mask_key!r}: "
                "choose another `mask_key`."
            )
        num_tokens = {len(features[key]) for key in self._present(features)}
        if len(num_tokens) > 1:
            raise _errors.DataError(
                f"PadOrTruncateTokens: {list(self._targets)} have different lengths in "
                f"one element: {sorted(num_tokens)}. One mask cannot describe them."
            )
        mask = np.arange(self.length) < num_tokens.pop()
        return {**changed, self.mask_key: mask}

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        tokens = _numbers.real("PadOrTruncateTokens", element)
        if not len(tokens) and tokens.dtype == np.float64:
            # NumPy's type of an empty list, which has none.
            tokens = tokens.astype(np.asarray(self.pad_id).dtype)
        excess = len(tokens) - self.length
        if excess > 0:
            if self.truncate == "error":
                raise _errors.DataError(
                    f"PadOrTruncateTokens: a sequence has {len(tokens)} tokens, more "
                    f"than {self.length}."
                )
            return tokens[excess:] if self.truncate == "left" else tokens[: self.length]
        if not excess:
            return tokens
        widths = [(0, -excess), *[(0, 0)] * (tokens.ndim - 1)]
        fill = _numbers.fill_value(
            "PadOrTruncateTokens", "pad_id", self.pad_id, tokens.dtype
        )
        return np.pad(tokens, widths, constant_values=fill)
