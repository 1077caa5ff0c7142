"""Preference losses: of two answers to a prompt, the chosen one should be likelier."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, losses, metrics
from kauldron.ktyping import Array, Float, typechecked
from kauldron.lm.losses import _checks
from kauldron.metrics import arrays

_VARIANTS = ("sigmoid", "ipo", "hinge", "simpo", "orpo")
_WITHOUT_REFERENCE = ("simpo", "orpo")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPO(losses.Loss):
    """Direct preference optimization and its variants, a value for each pair.

    `S(y)` is the sum of the logarithmic probabilities of the unmasked tokens of an
    answer, or with `reduction="mean"` their mean; `c` is the chosen answer, `r` the
    rejected one, and `m = S(c) - S(r) - S_reference(c) + S_reference(r)`:

    | variant | loss |
    |---|---|
    | `"sigmoid"` | `-log sigmoid(beta m)` |
    | `"ipo"` | `(m - 1 / (2 beta))**2` |
    | `"hinge"` | `max(0, 1 - beta m)` |
    | `"simpo"` | `-log sigmoid(beta (S(c) - S(r)) - margin)`, of means |
    | `"orpo"` | `-S(c) - beta log sigmoid(log odds(c) - log odds(r))`, of means |

    Attributes:
      policy_logps: Key to the log-probability of each token under the model that is
        trained, `{"chosen": Float["*b n"], "rejected": Float["*b m"]}`.
      reference_logps: Key to those of the reference model; `None` for `"simpo"` and
        `"orpo"`, which have none.
      chosen_mask: Key to which tokens of the chosen answer count, `Array["*b n"]`.
      rejected_mask: Key to which tokens of the rejected answer count.
      mask: Key to weights of the pairs, `Array["*b"]`.
      variant: Which loss.
      beta: Strength, > 0: how far the model may go from the reference.
      label_smoothing: Share of pairs whose choice is taken to be wrong: of their loss,
        this part is that of the pair the other way around.
      reduction: Of the tokens of an answer. `"simpo"` and `"orpo"` take the mean.
      margin: Of `"simpo"`.

    Raises:
      ValueError: If the shapes don't fit, or an option is out of range.

    Reference: Rafailov et al. 2023, DPO, arXiv:2305.18290; Azar et al. 2023, IPO,
    arXiv:2310.12036; Zhao et al. 2023, SLiC-HF, arXiv:2305.10425; Meng et al. 2024,
    SimPO, arXiv:2405.14734; Hong et al. 2024, ORPO, arXiv:2403.07691; Mitchell 2023, a
    note on DPO with noisy preferences.
    """

    policy_logps: kontext.Key = "preds.policy.logps"
    reference_logps: kontext.Key | None = "preds.reference.logps"
    chosen_mask: kontext.Key = "batch.chosen.loss_mask"
    rejected_mask: kontext.Key = "batch.rejected.loss_mask"
    variant: Literal["sigmoid", "ipo", "hinge", "simpo", "orpo"] = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    reduction: Literal["sum", "mean"] = "sum"
    margin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_choice(self, "variant", _VARIANTS)
        _checks.check_choice(self, "reduction", ("sum", "mean"))
        _checks.check_range(self, "label_smoothing", low=0, high=0.5)
        if self.beta <= 0:
            raise ValueError(f"`beta` of DPO must be > 0: got {self.beta!r}.")
        has_reference = self.variant not in _WITHOUT_REFERENCE
        if has_reference and self.reference_logps is None:
            raise ValueError(
                f"DPO's variant {self.variant!r} compares with a reference model: set "
                "`reference_logps`, or take 'simpo' or 'orpo'."
            )
        if not has_reference:  # not looked for in the predictions
            object.__setattr__(self, "reference_logps", None)

    @typechecked
    def get_values(
        self,
        policy_logps: Mapping[str, Any],
        chosen_mask: Array["*b n"],
        rejected_mask: Array["*b m"],
        reference_logps: Mapping[str, Any] | None = None,
    ) -> Float["*b"]:
        answer_masks = {"chosen": chosen_mask, "rejected": rejected_mask}
        reduction = self.reduction
        if self.variant in _WITHOUT_REFERENCE:
            reduction = "mean"
        scores = _scores(self, policy_logps, answer_masks, reduction)
        if self.variant == "orpo":
            ratio = _log_odds(scores["chosen"]) - _log_odds(scores["rejected"])
            return self.beta * self._smoothed(ratio) - scores["chosen"]
        margin = scores["chosen"] - scores["rejected"]
        if reference_logps is not None:
            old = _scores(self, reference_logps, answer_masks, reduction)
            margin -= old["chosen"] - old["rejected"]
        return self._smoothed(margin)

    def _smoothed(self, margin: jax.Array) -> jax.Array:
        values = self._of_margin(margin)
        if not self.label_smoothing:
            return values
        wrong = self._of_margin(-margin)
        return (1 - self.label_smoothing) * values + self.label_smoothing * wrong

    def _of_margin(self, margin: jax.Array) -> jax.Array:
        match self.variant:
            case "ipo":
                return jnp.square(margin - 1 / (2 * self.beta))
            case "hinge":
                return jax.nn.relu(1 - self.beta * margin)
            case "simpo":
                return jax.nn.softplus(self.margin - self.beta * margin)
            case "orpo":
                return jax.nn.softplus(-margin)
            case _:
                return jax.nn.softplus(-self.beta * margin)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferenceRewards(metrics.Metric):
    """How much the model prefers the chosen answers, relative to a reference.

    The reward of an answer is `beta` times the logarithm of its probability over that
    under the reference (over 1 if there is none).

    Attributes:
      policy_logps: As in `DPO`.
      reference_logps: As in `DPO`; `None` for none.
      chosen_mask: As in `DPO`.
      rejected_mask: As in `DPO`.
      mask: Key to weights of the pairs, `Array["*b"]`.
      beta: Factor of the rewards.
      reduction: Of the tokens of an answer.

    Returns of `compute`: the means `{"chosen", "rejected", "margin", "accuracy"}`;
    `accuracy` is the share of pairs whose chosen answer has the greater reward, a tie
    being half a one.
    """

    policy_logps: kontext.Key = "preds.policy.logps"
    reference_logps: kontext.Key | None = "preds.reference.logps"
    chosen_mask: kontext.Key = "batch.chosen.loss_mask"
    rejected_mask: kontext.Key = "batch.rejected.loss_mask"
    mask: kontext.Key | None = None
    beta: float = 0.1
    reduction: Literal["sum", "mean"] = "sum"

    @flax.struct.dataclass
    class State(metrics.AutoState):
        """Sums over pairs, in the order of the names."""

        totals: Float["4"] = metrics.sum_field()
        count: Float["*n"] = metrics.sum_field()

        def compute(self) -> dict[str, np.ndarray]:
            sums = super().compute()
            names = self.parent.__metric_names__()
            if sums.count is None or not sums.count:
                return _checks.undefined(self.parent)
            means = np.asarray(sums.totals) / np.asarray(sums.count)
            return dict(zip(names, means, strict=True))

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_choice(self, "reduction", ("sum", "mean"))

    def __metric_names__(self) -> list[str]:
        return ["chosen", "rejected", "margin", "accuracy"]

    @typechecked
    def get_state(
        self,
        policy_logps: Mapping[str, Any],
        chosen_mask: Array["*b n"],
        rejected_mask: Array["*b m"],
        reference_logps: Mapping[str, Any] | None = None,
        mask: Array | float | None = None,
    ) -> State:
        answer_masks = {"chosen": chosen_mask, "rejected": rejected_mask}
        rewards = _scores(self, policy_logps, answer_masks, self.reduction)
        if reference_logps is not None:
            old = _scores(self, reference_logps, answer_masks, self.reduction)
            rewards = {name: rewards[name] - old[name] for name in rewards}
        chosen, rejected = (self.beta * rewards[k] for k in ("chosen", "rejected"))
        margin = chosen - rejected
        accuracy = jnp.where(margin == 0, 0.5, margin > 0)
        means = [
            metrics.AverageState.from_values(x, mask=mask)
            for x in (chosen, rejected, margin, accuracy)
        ]
        return self.State(
            totals=jnp.stack([jnp.float32(x.total) for x in means]),
            count=means[0].count,
        )


def _scores(
    owner: Any,
    logps: Mapping[str, Any],
    answer_masks: Mapping[str, Array],
    reduction: str,
) -> dict[str, jax.Array]:
    """Returns the sum (or mean) of the log-probabilities of each answer, `Float["*b"]`."""
    scores = {}
    for name, mask in answer_masks.items():
        if name not in logps or logps[name].shape != mask.shape:
            seen = {k: getattr(v, "shape", v) for k, v in logps.items()}
            raise ValueError(
                f"{type(owner).__name__} needs log-probabilities of the tokens of both "
                f"answers, `{{'chosen': f[*b n], 'rejected': f[*b m]}}`: got {seen} (key "
                f"{owner.policy_logps!r}), and a mask of {mask.shape} of {name!r}."
            )
        values = arrays.to_float(logps[name])
        weights = jnp.asarray(mask, values.dtype)
        # Apart from `*`: what is masked may be -inf.
        total = jnp.where(weights == 0, 0, values * weights).sum(axis=-1)
        if reduction == "mean":
            count = weights.sum(axis=-1)
            total = total / jnp.where(count == 0, 1, count)
        scores[name] = total
    return scores


def _log_odds(logp: jax.Array) -> jax.Array:
    """Returns `log(p / (1 - p))` of the logarithm of a probability; p = 1 is kept off."""
    tiny = -float(jnp.finfo(logp.dtype).eps)
    logp = jnp.minimum(logp, tiny)
    return logp - jnp.log(-jnp.expm1(logp))
