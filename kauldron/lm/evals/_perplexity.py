"""How well a model predicts a text: perplexity, and bits per byte."""

from __future__ import annotations

import dataclasses

import flax.struct
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Array, Int, typechecked
from kauldron.metrics import arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfTokens(metrics.Metric):
    logits: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @typechecked
    def get_state(
        self,
        logits: Array["*b vocab"],
        targets: Int["*b"],
        mask: Array | float | None = None,
    ) -> metrics.State:
        checked = metrics.check_labels(
            targets,
            num_classes=logits.shape[-1],
            mask=mask,
            owner=self,
            field="targets",
        )
        own = arrays.logprobs_of(arrays.to_float(logits), checked.ids)
        state = self.State.from_values(-own, mask=checked.mask)
        return dataclasses.replace(state, bad_labels=checked.bad_labels)

    State = metrics.AverageState


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenPerplexity(_OfTokens):
    """Exponential of the mean negative log-probability of the tokens that count.

    With rows of `kd.lm.Window(length, stride)` this is the perplexity of a text with
    overlapping contexts: each token counts once.

    Attributes:
      logits: Key to unnormalised scores, `Float["*b n vocab"]`.
      targets: Key to the token that follows, `Int["*b n"]`.
      mask: Key to weights of the tokens, `Array["*b n"]`.

    Raises:
      LabelError: In `compute`: a token is not in the vocabulary.
    """

    @flax.struct.dataclass
    class State(metrics.AverageState):
        def compute(self) -> np.ndarray:
            with np.errstate(over="ignore"):
                return np.exp(np.asarray(super().compute(), np.float64))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenBitsPerByte(_OfTokens):
    """Bits that a text takes per byte: fair between tokenizers and compressors.

    Attributes:
      logits: Key to unnormalised scores, `Float["*b n vocab"]`.
      targets: Key to the token that follows, `Int["*b n"]`.
      mask: Key to weights of the tokens, `Array["*b n"]`.
      bytes_per_token: Bytes of the text, by the number of its tokens that count.

    Raises:
      ValueError: If `bytes_per_token` is not positive.
      LabelError: In `compute`: a token is not in the vocabulary.
    """

    bytes_per_token: float

    @flax.struct.dataclass
    class State(metrics.AverageState["TokenBitsPerByte"]):
        def compute(self) -> np.ndarray:
            nats = np.asarray(super().compute(), np.float64)
            return nats / np.log(2.0) / self.parent.bytes_per_token

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bytes_per_token > 0:
            raise ValueError(
                f"`bytes_per_token` must be positive: got {self.bytes_per_token!r}."
            )
