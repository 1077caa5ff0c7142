"""Language modelling metrics, from next-token predictions."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Float, IntOrBool, typechecked
from kauldron.metrics import (
    arrays,
    auto_state,
    base,
    base_state,
    class_ids,
    predicted_classes,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity(base.Metric):
    """Exponential of the mean negative log-probability of all tokens.

    Attributes:
      logits: Key to unnormalised scores, `Float["*b vocab"]`.
      labels: Key to tokens, `Int["*b 1"]`.
      mask: Key to weights of the tokens, `Array["*b 1"]`.
      ignored_label: Token that is not counted, such as padding.

    Returns of `compute`: NaN if a score is NaN, or without tokens.

    Raises:
      ValueError: If the shapes don't fit.
      LabelError: In `compute`: a token is not in the vocabulary.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    ignored_label: int | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        def compute(self) -> np.ndarray:
            with np.errstate(over="ignore"):  # in f64: e^89 is more than f32 can hold
                return np.exp(np.asarray(super().compute(), np.float64))

    @typechecked
    def get_state(
        self,
        logits: Array["*b vocab"],
        labels: IntOrBool["*b 1"],
        mask: Array | float | None = None,
    ) -> State:
        values, checked = _negative_logprobs(self, logits, labels, mask)
        state = self.State.from_values(values, mask=checked.mask)
        return dataclasses.replace(state, bad_labels=checked.bad_labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BitsPerByte(base.Metric):
    """Negative log-probability in bits per byte of text: fair between tokenizers.

    Attributes:
      logits: Key to unnormalised scores, `Float["*b vocab"]`.
      labels: Key to tokens, `Int["*b 1"]`.
      num_bytes: Key to the bytes that each token stands for, `Array["*b 1"]`.
      mask: Key to weights of the tokens (and of their bytes), `Array["*b 1"]`.
      ignored_label: Token that is not counted, such as padding.

    Returns of `compute`: NaN if a score is NaN, or without bytes.

    Raises:
      ValueError: If the shapes don't fit.
      LabelError: In `compute`: a token is not in the vocabulary.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    num_bytes: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    ignored_label: int | None = None

    @flax.struct.dataclass
    class State(auto_state.AutoState):
        """Sums over tokens."""

        nats: Float["*n"] = auto_state.sum_field()
        num_bytes: Float["*n"] = auto_state.sum_field()

        def compute(self) -> np.ndarray:
            sums = super().compute()
            if not sums.num_bytes:
                return np.full((), np.nan)
            return np.asarray(sums.nats / sums.num_bytes / np.log(2.0))

    @typechecked
    def get_state(
        self,
        logits: Array["*b vocab"],
        labels: IntOrBool["*b 1"],
        num_bytes: Array["*b 1"],
        mask: Array | float | None = None,
    ) -> State:
        values, checked = _negative_logprobs(self, logits, labels, mask)
        if num_bytes.shape != labels.shape:
            raise ValueError(
                "BitsPerByte needs `num_bytes` of the shape of the labels: got "
                f"{num_bytes.shape} and {labels.shape}."
            )
        average = base_state.AverageState.from_values
        return self.State(
            nats=average(values, mask=checked.mask).total,
            num_bytes=average(num_bytes, mask=checked.mask).total,
            bad_labels=checked.bad_labels,
        )


def _negative_logprobs(
    metric: predicted_classes.OfClasses,
    logits: Array["*b vocab"],
    labels: IntOrBool["*b 1"],
    mask: Array | float | None,
) -> tuple[Float["*b 1"], class_ids.CheckedLabels]:
    """Returns the negative log-probability of each token in nats, `Float["*b 1"]`."""
    predicted_classes.check_shapes(metric, logits=logits, labels=labels)
    checked = class_ids.check_labels(
        labels,
        num_classes=logits.shape[-1],
        mask=mask,
        ignored_label=metric.ignored_label,
        owner=metric,
    )
    logprobs = jax.nn.log_softmax(arrays.to_float(logits))
    return -jnp.take_along_axis(logprobs, checked.ids, axis=-1), checked
