"""Mixture of experts: a router sends each token to a few feed-forward networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from kauldron.ktyping import Float, Int, typechecked
from kauldron.modules import _activations, _logical_axes, _sizes
from kauldron.modules.language import _projection


@dataclasses.dataclass(frozen=True, kw_only=True)
class Routing:
    """How scores become a choice of experts and their weights.

    Softmax before or after the choice is `is_normalized` False or True: the chosen
    probabilities divided by their sum are the softmax over the chosen logits.

    Attributes:
      num_selected: Experts for each token.
      scores: Probabilities by `"softmax"` over the experts, or `"sigmoid"` of each.
      is_normalized: Whether the weights of a token sum to 1 (before `scale`).
      scale: Factor of the weights.
      num_groups: Groups of experts; a token chooses in some of them only.
      num_selected_groups: How many groups it chooses from.
      group_score: What makes a group good: its best expert, or its best two summed.
      has_bias: Whether a parameter `selection_bias` is added to the scores for the
        choice alone. It gets no gradient: balance is its purpose.

    Raises:
      ValueError: If the numbers don't fit.

    Reference: Shazeer et al. 2017, arXiv:1701.06538; DeepSeek-AI 2024, DeepSeek-V3,
    arXiv:2412.19437, §2.1.2.
    """

    num_selected: int = 2
    scores: Literal["softmax", "sigmoid"] = "softmax"
    is_normalized: bool = True
    scale: float = 1.0
    num_groups: int = 1
    num_selected_groups: int = 1
    group_score: Literal["best", "best_two"] = "best"
    has_bias: bool = False

    def __post_init__(self):
        if self.scores not in ("softmax", "sigmoid"):
            raise ValueError(
                f"`scores` must be 'softmax' or 'sigmoid': got {self.scores!r}."
            )
        if self.group_score not in ("best", "best_two"):
            raise ValueError(
                f"`group_score` must be 'best' or 'best_two': got {self.group_score!r}."
            )
        if not 1 <= self.num_selected_groups <= self.num_groups:
            raise ValueError(
                "`num_selected_groups` must be from 1 to `num_groups`: got "
                f"{self.num_selected_groups} of {self.num_groups}."
            )

    def check(self, num_experts: int) -> None:
        """Raises ValueError if so many experts cannot be chosen from like this."""
        if num_experts % self.num_groups:
            raise ValueError(
                f"`num_experts` must divide evenly over the groups: got {num_experts} "
                f"experts, num_groups={self.num_groups}."
            )
        size = num_experts // self.num_groups
        if not 1 <= self.num_selected <= self.num_selected_groups * size:
            raise ValueError(
                f"`num_selected` must be from 1 to the "
                f"{self.num_selected_groups * size} experts a token may choose from: "
                f"got {self.num_selected}."
            )

    def probabilities(self, logits: Float["n e"]) -> Float["n e"]:
        """Returns the score of each expert, in [0, 1]."""
        if self.scores == "sigmoid":
            return jax.nn.sigmoid(logits)
        return jax.nn.softmax(logits, axis=-1)

    def choose(
        self, probs: Float["n e"], bias: Float["*e"] | None
    ) -> tuple[Int["n k"], Float["n k"]]:
        """Returns the experts of each token and their weights."""
        merit = probs if bias is None else probs + bias[None]
        merit = jax.lax.stop_gradient(merit)
        if self.num_groups > 1:
            merit = self._within_best_groups(merit)
        _, index = jax.lax.top_k(merit, self.num_selected)
        weights = jnp.take_along_axis(probs, index, axis=-1)
        if self.is_normalized:
            # Sigmoids may all be 0.
            weights /= weights.sum(axis=-1, keepdims=True) + 1e-20
        return index, weights * self.scale

    def _within_best_groups(self, merit: Float["n e"]) -> Float["n e"]:
        n, e = merit.shape
        groups = merit.reshape(n, self.num_groups, e // self.num_groups)
        best = jax.lax.top_k(
            groups, min(groups.shape[-1], 1 if self.group_score == "best" else 2)
        )[0].sum(axis=-1)
        _, chosen = jax.lax.top_k(best, self.num_selected_groups)
        is_chosen = jax.nn.one_hot(chosen, self.num_groups, dtype=bool).any(axis=1)
        return jnp.where(is_chosen[..., None], groups, -jnp.inf).reshape(n, e)


class MoE(nn.Module):
    """Feed-forward experts of which each token uses a few; no token is ever dropped.

    Tokens are sorted by expert, and each expert's are multiplied at once
    (`jax.lax.ragged_dot`). Parameters: `router`, the experts' `gate`, `up`, `down`, and
    those of `shared`. Router logits, probabilities and choices are kept as
    intermediates `router_logits`, `router_probs` and `router_index`.

    Attributes:
      num_experts: Number of experts.
      hidden_features: Width of an expert.
      routing: How experts are chosen.
      shared: Module that every token goes through as well, such as
        `FeedForward(hidden_features=...)`.
      activation: Name, function or module; of an expert's gate.
      kernel_init: Initializer of the kernels.
      dtype: Of the computation; by default that of input and parameters together. The
        router computes in f32.
      param_dtype: Of the parameters.
    """

    num_experts: int
    hidden_features: int
    routing: Routing = Routing()
    shared: nn.Module | None = None
    activation: _activations.Activation = "silu"
    kernel_init: Callable[..., Any] = _projection.DEFAULT_INIT
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        _sizes.check_positive(self, "num_experts", "hidden_features")
        super().__post_init__()

    @nn.compact
    @typechecked
    def __call__(self, x: Float["*b d"]) -> Float["*b d"]:
        self.routing.check(self.num_experts)
        tokens = x.reshape(-1, x.shape[-1])
        index, weights = self._route(tokens, x.shape[:-1])
        y = self._experts(tokens, index, weights).reshape(x.shape)
        return y if self.shared is None else y + self.shared(x)

    def _route(
        self, tokens: Float["n d"], lead: tuple[int, ...]
    ) -> tuple[Int["n k"], Float["n k"]]:
        kernel = self._kernel("router", (tokens.shape[-1], self.num_experts))
        # Choices must not hang on the rounding of bf16.
        logits = tokens.astype(jnp.float32) @ kernel.astype(jnp.float32)
        probs = self.routing.probabilities(logits)
        bias = None
        if self.routing.has_bias:
            init = _logical_axes.with_logical_axes(nn.initializers.zeros, (None,))
            bias = self.param(
                "selection_bias", init, (self.num_experts,), self.param_dtype
            )
        index, weights = self.routing.choose(probs, bias)
        kept = {"router_logits": logits, "router_probs": probs, "router_index": index}
        for name, value in kept.items():
            self.sow("intermediates", name, value.reshape(*lead, -1))
        return index, weights

    def _experts(
        self, tokens: Float["n d"], index: Int["n k"], weights: Float["n k"]
    ) -> Float["n d"]:
        d, e, hidden = tokens.shape[-1], self.num_experts, self.hidden_features
        gate = self._kernel("gate", (e, d, hidden))
        up = self._kernel("up", (e, d, hidden))
        down = self._kernel("down", (e, hidden, d))
        tokens, gate, up, down = dtypes.promote_dtype(
            tokens, gate, up, down, dtype=self.dtype
        )
        order = jnp.argsort(index.ravel())
        sizes = jnp.bincount(index.ravel(), length=e).astype(jnp.int32)
        mine = tokens[order // index.shape[-1]]
        activation = _activations.make_activation(
            self.activation,
            owner=self,
            param_dtype=self.param_dtype,
            name="activation",
        )
        inner = activation(jax.lax.ragged_dot(mine, gate, sizes))
        inner *= jax.lax.ragged_dot(mine, up, sizes)
        results = jax.lax.ragged_dot(inner, down, sizes)
        back = results[jnp.argsort(order)].reshape(*index.shape, d)
        # Weighted in f32: the weights are.
        return jnp.einsum("nkd,nk->nd", back, weights).astype(tokens.dtype)

    def _kernel(self, name: str, shape: tuple[int, ...]) -> Float["*any"]:
        axes = {
            "router": ("embed", None),
            "gate": ("expert", "embed", "mlp"),
            "up": ("expert", "embed", "mlp"),
            "down": ("expert", "mlp", "embed"),
        }
        init = _logical_axes.with_logical_axes(self.kernel_init, axes[name])
        return self.param(name, init, shape, self.param_dtype)
