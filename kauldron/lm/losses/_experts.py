"""Losses and metrics of routers, read from what mixtures of experts keep."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, losses, metrics
from kauldron.ktyping import Array, Float, Num, PyTree, Scalar, typechecked
from kauldron.lm.losses import _checks
from kauldron.metrics import arrays, exact_sums


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfRouters(metrics.Metric):
    """Base: keys may hold globs, and match the routers of several layers.

    Layers of a scan are a leading axis of one array, and the mask says how many tokens
    each has. Each layer counts alike.
    """

    def check_keys(
        self, context: kontext.Context, *, field: str
    ) -> list[kontext.KeyProblem]:
        return kontext.check_keys(context, self, prefix=field, allow_globs=True)

    # A glob stands for all that it matches.
    context_keys = metrics.Metric.context_keys

    @property
    def _needs_step(self) -> bool:
        return callable(getattr(self, "weight", None))

    def _resolve_kwargs(self, context: kontext.Context) -> dict[str, Any]:
        resolved = {}
        for name, key in kontext.get_keypaths(self).items():
            if key is None or (name == "step" and not self._needs_step):
                continue
            if name in ("probs", "logits", "index"):
                resolved[name] = kontext.filter_by_path(context, key)
            else:
                resolved[name] = kontext.get_by_path(context, key)
        return resolved


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoELoadBalance(_OfRouters, losses.Loss):
    """Pushes routers to use all experts alike: 1 if they do, up to their number.

    `experts * sum_e(load_e * prob_e)`, with `load_e` the share of the choices that are
    expert `e`, and `prob_e` the mean of its probability (of its score, divided by their
    sum). Both are means over the unmasked tokens of the whole batch, over devices and
    micro-batches; the value is the mean over layers. Only probabilities have a gradient.

    Attributes:
      probs: Key to the probabilities of the experts, `Float["*b experts"]`; globs match
        several layers, and layers of a scan are a leading axis.
      index: Key to the chosen experts, `Int["*b k"]`, of the same layers.
      mask: Key to weights of the tokens, `Array["*b"]`. Without it, layers of a scan are
        taken for one.

    Raises:
      ValueError: If no router is found, or layers differ in the number of experts.

    Reference: Fedus et al. 2021, Switch Transformers, eq. 4 to 6, arXiv:2101.03961.
    """

    probs: kontext.Key = "interms.**.router_probs[0]"
    index: kontext.Key = "interms.**.router_index[0]"

    @flax.struct.dataclass
    class State(losses.Loss.State):
        """Sums over tokens, for each layer and expert; a product of means is no mean.

        Attributes:
          total: Of the probabilities.
          count: Number of tokens.
          raw_total: Of the choices.
          weighted: Of the choices, with the weight of the loss.
        """

        weighted: Num["*n"] | None = None

        @classmethod
        def empty(cls) -> Self:
            return dataclasses.replace(
                super().empty(), weighted=np.zeros((), np.float32)
            )

        def merge(self, other: Self) -> Self:
            if self.weighted is None or other.weighted is None:
                raise ValueError("States of `MoELoadBalance` need `weighted`.")
            merged = super().merge(other)
            weighted = exact_sums.add_arrays(self.weighted, other.weighted)
            return dataclasses.replace(merged, weighted=weighted)

        def mean(self) -> Any:
            return self._product(self.weighted)

        def compute(self) -> np.ndarray:
            return np.asarray(self._product(self.weighted))

        def compute_raw(self) -> np.ndarray:
            return np.asarray(self._product(self.raw_total))

        def _product(self, loads: Any) -> Any:
            if not np.ndim(self.total):  # nothing was seen
                return np.zeros((), np.float32)
            module = jnp if isinstance(self.total, jax.Array) else np
            count = module.where(self.count == 0, 1, self.count)
            experts = self.total.shape[-1]
            products = (self.total / count * (loads / count)).sum(axis=-1)
            return experts * products.mean()

    @typechecked
    def get_state(
        self,
        probs: PyTree,
        index: PyTree,
        mask: Array | float | None = None,
        step: Scalar | None = None,
    ) -> State:
        probs = _layers(self, probs, mask, "probs")
        index = _layers(self, index, mask, "index")
        weights = _weights(probs, mask)
        probs = jnp.where(weights == 0, 0, probs)
        scores = probs.sum(axis=-1, keepdims=True)
        probs = probs / jnp.where(scores == 0, 1, scores)
        loads = _choices(index, probs.shape[-1])
        total, loads = ((x * weights).sum(axis=1) for x in (probs, loads))
        loads = jax.lax.stop_gradient(loads)
        return self.State(
            total=total,
            count=weights.sum(axis=1)[0, 0],
            raw_total=loads,
            weighted=loads * self.get_weight(step),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoEZLoss(_OfRouters, losses.Loss):
    """Keeps the logits of routers small: `log(sum_e(exp(logits_e)))**2` of each token.

    Attributes:
      logits: Key to the logits of the experts, `Float["*b experts"]`; globs match several
        layers, and layers of a scan are a leading axis.
      mask: Key to weights of the tokens, `Array["*b"]`.

    Reference: Zoph et al. 2022, ST-MoE, eq. 5, arXiv:2202.08906.
    """

    logits: kontext.Key = "interms.**.router_logits[0]"

    @typechecked
    def get_state(
        self,
        logits: PyTree,
        mask: Array | float | None = None,
        step: Scalar | None = None,
    ) -> losses.Loss.State:
        logits = _layers(self, logits, mask, "logits")
        weights = _weights(logits, mask)
        values = self.get_values(logits=jnp.where(weights == 0, 0, logits))
        weights = jnp.broadcast_to(weights[..., 0], values.shape)
        return self._to_state(values, mask=weights, step=step)

    @typechecked
    def get_values(self, logits: Float["*b experts"]) -> Float["*b"]:
        return jnp.square(jax.nn.logsumexp(logits, axis=-1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RouterStatistics(_OfRouters):
    """How evenly routers use their experts, means over layers.

    Attributes:
      probs: Key to the probabilities of the experts, as in `MoELoadBalance`.
      index: Key to the chosen experts, as in `MoELoadBalance`.
      mask: Key to weights of the tokens, `Array["*b"]`.

    Returns of `compute`: a dict with `entropy` of the probabilities of a token, in nats
    (the logarithm of the number of experts at most); `dead_experts`, the share of experts
    that nothing went to in all that was measured; `imbalance`, the load of the busiest
    expert over the mean load (1 is even).
    """

    probs: kontext.Key = "interms.**.router_probs[0]"
    index: kontext.Key = "interms.**.router_index[0]"
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(metrics.AutoState):
        """Sums over tokens, for each layer."""

        entropy: Float["*l"] = metrics.sum_field()
        loads: Float["layers experts"] = metrics.sum_field()
        count: Float["*n"] = metrics.sum_field()

        def compute(self) -> dict[str, np.ndarray]:
            sums = super().compute()
            names = self.parent.__metric_names__()
            if sums.count is None or not sums.count:
                return _checks.undefined(self.parent)
            loads = np.asarray(sums.loads)
            values = (
                np.mean(sums.entropy) / sums.count,
                np.mean(loads == 0),
                np.mean(loads.max(axis=-1) / loads.mean(axis=-1)),
            )
            return dict(zip(names, map(np.asarray, values), strict=True))

    def __metric_names__(self) -> list[str]:
        return ["entropy", "dead_experts", "imbalance"]

    @typechecked
    def get_state(
        self, probs: PyTree, index: PyTree, mask: Array | float | None = None
    ) -> State:
        probs = _layers(self, probs, mask, "probs")
        index = _layers(self, index, mask, "index")
        weights = _weights(probs, mask)
        probs = jnp.where(weights == 0, 1, probs)
        probs = probs / probs.sum(axis=-1, keepdims=True)
        entropy = jax.scipy.special.entr(probs).sum(axis=-1)
        loads = _choices(index, probs.shape[-1])
        return self.State(
            entropy=(entropy * weights[..., 0]).sum(axis=1),
            loads=(loads * weights).sum(axis=1),
            count=weights.sum(axis=1)[0, 0],
        )


def _layers(
    owner: Any, tree: PyTree, mask: Array | float | None, field: str
) -> jax.Array:
    """Returns `Array["layers tokens last"]` of one or more layers of one size.

    Raises:
      ValueError: If there is none, or they differ in shape.
    """
    leaves = jax.tree.leaves(tree)
    key = getattr(owner, field)
    if not leaves:
        raise ValueError(
            f"`{field}` of {type(owner).__name__} finds no router: key {key!r} matches "
            "nothing. Mixtures of experts keep `router_logits`, `router_probs` and "
            "`router_index`."
        )
    if len({x.shape[-1] for x in leaves}) > 1:
        raise ValueError(
            f"{type(owner).__name__} needs layers with one number of experts: key {key!r} "
            f"has {sorted({x.shape for x in leaves})}. Take one for each kind of layer."
        )
    # Without a mask, layers cannot be told from examples: the leading axis may be either.
    num_tokens = min(int(np.prod(x.shape[:-1])) for x in leaves)
    if mask is not None and np.size(mask) > 1:
        num_tokens = int(np.size(mask))
    if field != "index":
        leaves = map(arrays.to_float, leaves)
    return jnp.concatenate(
        [x.reshape(-1, num_tokens, x.shape[-1]) for x in leaves], axis=0
    )


def _weights(x: Array, mask: Array | float | None) -> jax.Array:
    """Returns weights `Float32["1 tokens 1"]` of `Array["layers tokens last"]`."""
    if mask is None:
        return jnp.ones((1, x.shape[1], 1), jnp.float32)
    flat = arrays.to_float(mask).reshape(-1)
    return jnp.broadcast_to(flat, (x.shape[1],))[None, :, None]


def _choices(index: Array, num_experts: int) -> jax.Array:
    """Returns the share of each expert in the choices of a token."""
    return jax.nn.one_hot(index, num_experts).mean(axis=-2)
