"""Classification losses: cross-entropy, focal, hinge, divergences."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from kauldron import kontext
from kauldron.ktyping import Array, Float, IntOrBool, typechecked
from kauldron.losses import _checks, _labelled, base
from kauldron.metrics import arrays, predicted_classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftmaxCrossEntropy(base.Loss):
    """Cross-entropy of the softmax of scores with a distribution, in nats.

    Attributes:
      logits: Key to unnormalised scores, `Float["*a n"]`.
      labels: Key to probabilities (one-hot, for instance), `Array["*a n"]`.
      label_smoothing: Share of the labels that is spread evenly over all classes.

    Raises:
      ValueError: If the shapes differ, or `label_smoothing` is not in [0, 1].
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "label_smoothing", low=0, high=1)

    @typechecked
    def get_values(self, logits: Array["*a n"], labels: Array["*a n"]) -> Float["*a 1"]:
        arrays.check_same_shape(self, logits=logits, labels=labels)
        labels = optax.losses.smooth_labels(
            arrays.to_float(labels), self.label_smoothing
        )
        logprobs = jax.nn.log_softmax(arrays.to_float(logits))
        return -_checks.weigh(labels, logprobs).sum(axis=-1, keepdims=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftmaxCrossEntropyWithIntLabels(_labelled.OfClasses):
    """Negative log-probability of the labelled class, in nats.

    Attributes:
      logits: Key to unnormalised scores, `Float["*a classes"]`.
      labels: Key to class ids in `[0, classes)`, `Int["*a 1"]` of any integer dtype.
      ignored_label: Label that does not count (often -1 or 255).
      label_smoothing: Share of the label that is spread evenly over all classes.

    Raises:
      ValueError: If the shapes don't fit, the labels are not integers, or
        `label_smoothing` is not in [0, 1].
      LabelError: A `ValueError`: on computing the value, if a label that counts is no
        class.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "label_smoothing", low=0, high=1)

    @typechecked
    def _get_values(
        self, logits: Float["*a classes"], ids: IntOrBool["*a 1"]
    ) -> Float["*a 1"]:
        scores = predicted_classes.scores_of(logits, ids)
        values = jax.nn.logsumexp(logits, axis=-1, keepdims=True) - scores
        if self.label_smoothing:
            evenly = -jax.nn.log_softmax(logits).mean(axis=-1, keepdims=True)
            # Not `values + smoothing * (evenly - values)`: both may be infinite.
            share = self.label_smoothing
            values = _checks.weigh(1 - share, values) + share * evenly
        return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmoidBinaryCrossEntropy(_labelled.OfElements):
    """Binary cross-entropy of every element, in nats.

    Attributes:
      logits: Key to log-odds, `Float["*a"]`.
      labels: Key to probabilities (0 or 1, for instance) of the same shape.
      ignored_label: Label that does not count (often -1 or 255).
      label_smoothing: Share of the labels that is replaced by 1/2.

    Raises:
      ValueError: If the shapes differ, or `label_smoothing` is not in [0, 1].
      LabelError: A `ValueError`: on computing the value, if an integer label that
        counts is neither 0 nor 1.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "label_smoothing", low=0, high=1)

    @typechecked
    def get_values(self, logits: Array["*a"], labels: Array["*a"]) -> Float["*a"]:
        arrays.check_same_shape(self, logits=logits, labels=labels)
        labels = arrays.to_float(labels)
        labels = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        return _binary_nats(arrays.to_float(logits), labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FocalLoss(_labelled.OfClasses):
    """Cross-entropy that down-weights examples the model already gets right.

    `(1 - p)**gamma * -log(p)`, `p` the probability of the labelled class.

    Attributes:
      logits: Key to unnormalised scores, `Float["*a classes"]`.
      labels: Key to class ids in `[0, classes)`, `Int["*a 1"]` of any integer dtype.
      ignored_label: Label that does not count (often -1 or 255).
      gamma: Focusing strength, dimensionless, >= 0; 0 is plain cross-entropy.

    Raises:
      ValueError: If the shapes don't fit, or `gamma < 0`.
      LabelError: A `ValueError`: on computing the value, if a label that counts is no
        class.

    Reference: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 4,
    arXiv:1708.02002.
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "gamma", low=0)

    @typechecked
    def _get_values(
        self, logits: Float["*a classes"], ids: IntOrBool["*a 1"]
    ) -> Float["*a 1"]:
        logprob = jnp.take_along_axis(jax.nn.log_softmax(logits), ids, axis=-1)
        if not self.gamma:
            return -logprob
        # `1 - p` is kept off 0: the gradient of `0**gamma` is not finite for gamma < 1.
        other = jnp.maximum(-jnp.expm1(logprob), jnp.finfo(logprob.dtype).tiny)
        # Apart: the gradient of `other` would be 0, times infinity.
        is_impossible = jnp.isneginf(logprob)
        values = -(other**self.gamma) * jnp.where(is_impossible, 0, logprob)
        return jnp.where(is_impossible, -logprob, values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmoidFocalLoss(_labelled.OfElements):
    """Binary cross-entropy of every element that down-weights the easy ones.

    Attributes:
      logits: Key to log-odds, `Float["*a"]`.
      labels: Key to 0 or 1, of the same shape.
      ignored_label: Label that does not count (often -1 or 255).
      alpha: Weight of the positive elements in [0, 1], `1 - alpha` that of the others;
        `None` weighs all alike.
      gamma: Focusing strength, dimensionless, >= 0.

    Raises:
      ValueError: If the shapes differ, or a parameter is out of range.
      LabelError: A `ValueError`: on computing the value, if an integer label that
        counts is neither 0 nor 1.

    Reference: Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 5,
    arXiv:1708.02002.
    """

    alpha: float | None = None
    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "gamma", low=0)
        if self.alpha is not None:
            _checks.check_range(self, "alpha", low=0, high=1)

    @typechecked
    def get_values(self, logits: Array["*a"], labels: Array["*a"]) -> Float["*a"]:
        arrays.check_same_shape(self, logits=logits, labels=labels)
        logits, labels = arrays.to_float(logits), arrays.to_float(labels)
        values = _binary_nats(logits, labels)
        if self.gamma:
            # Not `1 - p`: it would be 0 for p near 1, and the gradient of `0**gamma` is
            # not finite for gamma < 1.
            other = labels * jax.nn.sigmoid(-logits)
            other = other + (1 - labels) * jax.nn.sigmoid(logits)
            other = jnp.maximum(other, jnp.finfo(logits.dtype).tiny)
            # Apart: the gradient of `other` would be 0, times infinity.
            is_impossible = jnp.isposinf(values)
            focused = other**self.gamma * jnp.where(is_impossible, 0, values)
            values = jnp.where(is_impossible, values, focused)
        if self.alpha is not None:
            values = values * (self.alpha * labels + (1 - self.alpha) * (1 - labels))
        return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hinge(_labelled.OfElements):
    """Hinge loss of every element, `max(0, 1 - s)`, `s` the score of the right side.

    Attributes:
      logits: Key to scores, `Float["*a"]`; positive means class 1.
      labels: Key to 0 or 1, of the same shape.
      ignored_label: Label that does not count (often -1 or 255).

    Raises:
      ValueError: If the shapes differ.
      LabelError: A `ValueError`: on computing the value, if an integer label that
        counts is neither 0 nor 1.
    """

    @typechecked
    def get_values(self, logits: Array["*a"], labels: Array["*a"]) -> Float["*a"]:
        arrays.check_same_shape(self, logits=logits, labels=labels)
        signs = 2 * arrays.to_float(labels) - 1
        return optax.losses.hinge_loss(arrays.to_float(logits), signs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MulticlassHinge(_labelled.OfClasses):
    """By how much the best wrong class comes within a margin of 1 of the labelled one.

    Attributes:
      logits: Key to scores, `Float["*a classes"]`.
      labels: Key to class ids in `[0, classes)`, `Int["*a 1"]` of any integer dtype.
      ignored_label: Label that does not count (often -1 or 255).

    Raises:
      ValueError: If the shapes don't fit.
      LabelError: A `ValueError`: on computing the value, if a label that counts is no
        class.

    Reference: Crammer and Singer 2001, On the Algorithmic Implementation of Multiclass
    Kernel-based Vector Machines.
    """

    @typechecked
    def _get_values(
        self, logits: Float["*a classes"], ids: IntOrBool["*a 1"]
    ) -> Float["*a 1"]:
        own = jnp.take_along_axis(logits, ids, axis=-1)
        is_own = jax.nn.one_hot(ids[..., 0], logits.shape[-1], dtype=bool)
        others = jnp.max(jnp.where(is_own, -jnp.inf, logits), axis=-1, keepdims=True)
        return jnp.maximum(0, 1 + others - own)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KLDivergence(base.Loss):
    """`KL(targets || preds)` of two distributions over classes, in nats.

    With `targets_are_logits` and a `temperature` this is distillation. Hinton et al.
    multiply by `temperature**2`, so that gradients keep their size: put it in `weight`.

    Attributes:
      logits: Key to unnormalised scores of the prediction, `Float["*a n"]`.
      targets: Key to probabilities, or to scores, of the same shape.
      targets_are_logits: Whether `targets` are unnormalised scores.
      temperature: Divides all scores, > 0.

    Raises:
      ValueError: If the shapes differ, or `temperature <= 0`.

    Reference: Hinton et al. 2015, Distilling the Knowledge in a Neural Network,
    arXiv:1503.02531.
    """

    logits: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    targets_are_logits: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "temperature", low=0, is_open=True)

    @typechecked
    def get_values(
        self, logits: Array["*a n"], targets: Array["*a n"]
    ) -> Float["*a 1"]:
        arrays.check_same_shape(self, logits=logits, targets=targets)
        logprobs = jax.nn.log_softmax(arrays.to_float(logits) / self.temperature)
        targets = arrays.to_float(targets)
        if self.targets_are_logits:
            log_targets = jax.nn.log_softmax(targets / self.temperature)
            targets = jnp.exp(log_targets)
            is_absent = jnp.isneginf(log_targets)
            log_targets = jnp.where(is_absent, 0, log_targets)
        else:
            # Not optax.losses.kl_divergence: its gradient is NaN where a target is 0.
            is_absent = targets == 0
            log_targets = jnp.log(jnp.where(is_absent, 1, targets))
        logprobs = jnp.where(is_absent & jnp.isneginf(logprobs), 0, logprobs)
        values = targets * (log_targets - logprobs)
        return values.sum(axis=-1, keepdims=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianKL(base.Loss):
    """`KL(N(mean, exp(logvar)) || N(0, 1))` summed over the last axis, in nats.

    Attributes:
      mean: Key to means, `Float["*a n"]`.
      logvar: Key to logarithms of the variances, of the same shape.

    Raises:
      ValueError: If the shapes differ.

    Reference: Kingma and Welling 2013, Auto-Encoding Variational Bayes, appendix B,
    arXiv:1312.6114.
    """

    mean: kontext.Key = kontext.REQUIRED
    logvar: kontext.Key = kontext.REQUIRED

    @typechecked
    def get_values(self, mean: Array["*a n"], logvar: Array["*a n"]) -> Float["*a 1"]:
        arrays.check_same_shape(self, mean=mean, logvar=logvar)
        mean, logvar = arrays.to_float(mean), arrays.to_float(logvar)
        values = jnp.expm1(logvar) + mean**2 - logvar
        return values.sum(axis=-1, keepdims=True) / 2


def _binary_nats(logits: Float["*a"], labels: Float["*a"]) -> Float["*a"]:
    """Returns the binary cross-entropy of each element."""
    values = _checks.weigh(labels, jax.nn.log_sigmoid(logits))
    return -values - _checks.weigh(1 - labels, jax.nn.log_sigmoid(-logits))
