"""Policy gradient losses of sampled answers: GRPO and its relatives."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, losses, metrics
from kauldron.ktyping import Array, Float, Scalar, typechecked
from kauldron.lm.losses import _checks
from kauldron.metrics import arrays

_AGGREGATIONS = ("token", "sequence", "constant")
_ESTIMATORS = ("k1", "k2", "k3")


def group_advantages(
    rewards: Array,
    *,
    ddof: Literal[0, 1] = 0,
    epsilon: float = 1e-4,
    divides_by_std: bool = True,
) -> jax.Array:
    """Returns how much better each answer is than the others to its prompt.

    Args:
      rewards: `Array["*b group"]`, of all answers to a prompt along the last axis.
      ddof: 0 divides by the standard deviation of the group as a population (as the
        paper), 1 by that of a sample (Bessel, as most libraries).
      epsilon: Added to the standard deviation.
      divides_by_std: Whether it is divided at all; Dr. GRPO leaves it out.

    Returns:
      Advantages `Float["*b group"]`, whose mean over a group is 0.

    Raises:
      ValueError: If a group has one answer only, or `ddof` is neither 0 nor 1.

    Reference: Shao et al. 2024, DeepSeekMath, §4.1, arXiv:2402.03300; Liu et al. 2025,
    Understanding R1-Zero-Like Training, arXiv:2503.20783.
    """
    if ddof not in (0, 1):
        raise ValueError(f"`ddof` must be 0 or 1: got {ddof!r}.")
    rewards = arrays.to_float(rewards)
    if not rewards.ndim or rewards.shape[-1] < 2:
        raise ValueError(
            "Advantages compare the answers of a group along the last axis: got rewards "
            f"of shape {rewards.shape}. Sample two answers to a prompt at least."
        )
    centred = rewards - rewards.mean(axis=-1, keepdims=True)
    if not divides_by_std:
        return centred
    return centred / (rewards.std(axis=-1, keepdims=True, ddof=ddof) + epsilon)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfPolicy:
    """The fields of what compares a policy with the one that sampled."""

    logps: kontext.Key = "preds.policy.logps"
    old_logps: kontext.Key = "batch.old_logps"
    reference_logps: kontext.Key | None = None
    clip_low: float = 0.2
    clip_high: float = 0.2
    ratio: Literal["token", "sequence"] = "token"
    kl: Literal["k1", "k2", "k3"] = "k3"

    def _check_fields(self) -> None:
        _checks.check_range(self, "clip_low", low=0, high=1)
        _checks.check_range(self, "clip_high", low=0)
        _checks.check_choice(self, "ratio", ("token", "sequence"))
        _checks.check_choice(self, "kl", _ESTIMATORS)

    def _ratios(self, logps: Array, old_logps: Array, weights: Array) -> jax.Array:
        difference = jnp.where(weights == 0, 0, logps - old_logps)
        if self.ratio == "sequence":
            count = weights.sum(axis=-1, keepdims=True)
            mean = (difference * weights).sum(axis=-1, keepdims=True)
            mean /= jnp.where(count == 0, 1, count)
            # The value is that of the sequence, the gradient goes to each token.
            difference = (
                difference
                - jax.lax.stop_gradient(difference)
                + (jax.lax.stop_gradient(mean))
            )
        return jnp.exp(difference)

    def _kl(self, logps: Array, reference_logps: Array, weights: Array) -> jax.Array:
        d = jnp.where(weights == 0, 0, logps - reference_logps)
        match self.kl:
            case "k1":
                return d
            case "k2":
                return jnp.square(d) / 2
            case _:
                return jnp.expm1(-d) + d


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRPO(_OfPolicy, losses.Loss):
    """The clipped loss of group relative policy optimization.

    Of a token with the ratio `rho = exp(logps - old_logps)` and the advantage `A` of its
    answer: `-min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) + kl_coef * KL`. The
    tokens are averaged by `aggregation`:

    | | |
    |---|---|
    | `"token"` | over all unmasked tokens of the batch (DAPO) |
    | `"sequence"` | over the tokens of an answer, then over the answers (GRPO) |
    | `"constant"` | the sum over an answer by `max_tokens`, then over the answers (Dr. GRPO) |

    An answer without an unmasked token does not count.

    Attributes:
      logps: Key to the log-probability of each token, `Float["*b n"]`.
      old_logps: Key to those under the policy that sampled, `Float["*b n"]`.
      advantages: Key to the advantage of each answer, `Array["*b"]` (or `Array["*b 1"]`,
        or of each token, `Array["*b n"]`); see `group_advantages`.
      reference_logps: Key to those of the reference model; `None` for no KL term.
      mask: Key to which tokens count, `Array["*b n"]`.
      clip_low: How far below 1 the ratio counts.
      clip_high: How far above 1 the ratio counts.
      ratio: Of each token, or by `"sequence"` the geometric mean over the answer (GSPO),
        with the gradient of each token's own probability.
      kl: Estimator, with `d = logps - reference_logps`: `"k1"` is `d`, `"k2"` is
        `d**2 / 2`, `"k3"` is `exp(-d) + d - 1`.
      kl_coef: Factor of the KL term.
      aggregation: What the mean is taken over.
      max_tokens: Divisor of `"constant"`.

    Raises:
      ValueError: If the shapes don't fit, or an option is out of range.

    Reference: Shao et al. 2024, DeepSeekMath, eq. 3 and 4, arXiv:2402.03300; Yu et al.
    2025, DAPO, arXiv:2503.14476; Liu et al. 2025, arXiv:2503.20783; Zheng et al. 2025,
    GSPO, eq. 14, arXiv:2507.18071; Schulman 2020, Approximating KL Divergence.
    """

    advantages: kontext.Key = "batch.advantages"
    mask: kontext.Key | None = "batch.loss_mask"
    kl_coef: float = 0.0
    aggregation: Literal["token", "sequence", "constant"] = "token"
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_fields()
        _checks.check_choice(self, "aggregation", _AGGREGATIONS)
        _checks.check_range(self, "kl_coef", low=0)
        if (self.aggregation == "constant") != (self.max_tokens is not None):
            raise ValueError(
                "`max_tokens` of GRPO is what `aggregation='constant'` divides by, and "
                f"nothing else: got aggregation={self.aggregation!r}, "
                f"max_tokens={self.max_tokens!r}."
            )
        if self.kl_coef and self.reference_logps is None:
            raise ValueError(
                f"`kl_coef={self.kl_coef}` of GRPO needs a reference model: set "
                "`reference_logps`."
            )

    @typechecked
    def get_state(
        self,
        logps: Float["*b n"],
        old_logps: Float["*b n"],
        advantages: Array,
        reference_logps: Float["*b n"] | None = None,
        mask: Array | float | None = None,
        step: Scalar | None = None,
    ) -> losses.Loss.State:
        weights = _weights(logps, mask)
        given = {
            "logps": logps,
            "old_logps": old_logps,
            "advantages": advantages,
            "reference_logps": reference_logps,
        }
        _, guarded = self._guard((), given, mask)
        values = self.get_values(**guarded, mask=weights)
        if self.aggregation == "token":
            return self._to_state(values, mask=weights, step=step)
        total = jnp.where(weights == 0, 0, values * weights).sum(axis=-1)
        count = weights.sum(axis=-1)
        divisor: Any = self.max_tokens
        if self.aggregation == "sequence":
            divisor = jnp.where(count == 0, 1, count)
        return self._to_state(total / divisor, mask=count > 0, step=step)

    @typechecked
    def get_values(
        self,
        logps: Float["*b n"],
        old_logps: Float["*b n"],
        advantages: Array,
        reference_logps: Float["*b n"] | None = None,
        mask: Array | None = None,
    ) -> Float["*b n"]:
        """Returns the loss of each token; masked ones are 0 or without meaning."""
        weights = _weights(logps, mask)
        logps, old_logps = map(arrays.to_float, (logps, old_logps))
        advantages = _of_each_answer(self, advantages, logps.shape)
        ratio = self._ratios(logps, old_logps, weights)
        clipped = jnp.clip(ratio, 1 - self.clip_low, 1 + self.clip_high)
        values = -jnp.minimum(ratio * advantages, clipped * advantages)
        if reference_logps is None or not self.kl_coef:
            return values
        kl = self._kl(logps, arrays.to_float(reference_logps), weights)
        return values + self.kl_coef * kl


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyDrift(_OfPolicy, metrics.Metric):
    """How far a policy has gone from the one that sampled, means over tokens.

    Attributes:
      logps: As in `GRPO`.
      old_logps: As in `GRPO`.
      reference_logps: As in `GRPO`; `None` takes those of the sampling policy.
      mask: Key to which tokens count, `Array["*b n"]`.
      clip_low: As in `GRPO`.
      clip_high: As in `GRPO`.
      ratio: As in `GRPO`.
      kl: Estimator, as in `GRPO`.

    Returns of `compute`: `{"kl", "clipped"}`, `clipped` being the share of tokens whose
    ratio is outside of the bounds.
    """

    mask: kontext.Key | None = "batch.loss_mask"

    @flax.struct.dataclass
    class State(metrics.AutoState):
        """Sums over tokens."""

        kl: Float["*n"] = metrics.sum_field()
        clipped: Float["*n"] = metrics.sum_field()
        count: Float["*n"] = metrics.sum_field()

        def compute(self) -> dict[str, np.ndarray]:
            sums = super().compute()
            if sums.count is None or not sums.count:
                return _checks.undefined(self.parent)
            return {
                "kl": np.asarray(sums.kl / sums.count),
                "clipped": np.asarray(sums.clipped / sums.count),
            }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_fields()

    def __metric_names__(self) -> list[str]:
        return ["kl", "clipped"]

    @typechecked
    def get_state(
        self,
        logps: Float["*b n"],
        old_logps: Float["*b n"],
        reference_logps: Float["*b n"] | None = None,
        mask: Array | float | None = None,
    ) -> State:
        weights = _weights(logps, mask)
        logps, old_logps = map(arrays.to_float, (logps, old_logps))
        others = old_logps if reference_logps is None else reference_logps
        ratio = self._ratios(logps, old_logps, weights)
        is_out = (ratio < 1 - self.clip_low) | (ratio > 1 + self.clip_high)
        kl = self._kl(logps, arrays.to_float(others), weights)
        average = metrics.AverageState.from_values
        kl_state = average(kl, mask=weights)
        return self.State(
            kl=kl_state.total,
            clipped=average(is_out, mask=weights).total,
            count=kl_state.count,
        )


def _weights(logps: Array, mask: Array | float | None) -> jax.Array:
    if mask is None:
        return jnp.ones(logps.shape, jnp.float32)
    return jnp.broadcast_to(arrays.to_float(mask), logps.shape)


def _of_each_answer(owner: Any, advantages: Array, shape: tuple[int, ...]) -> jax.Array:
    advantages = arrays.to_float(advantages)
    if advantages.shape == shape[:-1]:
        advantages = advantages[..., None]
    if advantages.shape not in (shape, (*shape[:-1], 1)):
        raise ValueError(
            f"{type(owner).__name__} needs an advantage for each answer: got "
            f"{advantages.shape} (key {owner.advantages!r}) for log-probabilities of "
            f"{shape} (key {owner.logps!r})."
        )
    return advantages
