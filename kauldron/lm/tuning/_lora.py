"""`LoRA`: a model with frozen weights and small trained updates of some of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import modules as kd_nn
from kauldron.ktyping import PyTree
from kauldron.lm.tuning import _int8, _low_rank

BASE = "base"


class LoRA(kd_nn.WrapperModule):
    """A model whose weights are frozen, plus trained low-rank updates of some of them.

    A targeted weight is `W + alpha / rank * a @ b`, with `a` small and random, `b` zero
    at first, so that the model starts as it was. The weights `W` are the collection
    `base`: they have no gradient and no optimizer state. The parameters are the updates
    alone, at the paths of the weights: `layer_0.attention.query.kernel.a` and `.b`. Keys
    and intermediates are those of the model.

    Attributes:
      model: The model.
      rank: Of the updates, >= 1.
      alpha: The updates are multiplied by `alpha / rank`.
      targets: Globs of the weights that are updated. `"**.feed_forward.*.kernel"` are
        those of dense feed-forward layers, `"**.feed_forward.up"` of experts, which get an
        update each.
      base_dtype: How the weights are kept: `"int8"` for matrices in eight bits, with a
        scale for each output (embedding and head are not); `None` as they are.

    Raises:
      LoRAError: A `ValueError`: a glob matches nothing or no matrix, or the rank is too
        great.

    Reference: Hu et al. 2021, LoRA, arXiv:2106.09685; Dettmers et al. 2023, QLoRA,
    arXiv:2305.14314 (whose 4 bits are 8 here).
    """

    rank: int = 8
    alpha: float = 16.0
    targets: Sequence[str] = ("**.attention.*.kernel",)
    base_dtype: Literal["int8"] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(_call, *args, **kwargs)

    def without_adapters(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model as it was before any training."""
        return self.run(_call, *args, is_adapted=False, **kwargs)

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        is_adapted: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Returns `function(model, *args, **kwargs)`, with the weights in the model.

        Args:
          function: Calls the model.
          *args: What the model is called with.
          is_adapted: Whether the weights have the updates; else it is the model as it was
            before any training.
          **kwargs: Likewise.
        """
        return self._run(function, args, kwargs, is_adapted=is_adapted)

    def weights(self, params: PyTree, base: PyTree) -> Any:
        """Returns the parameters of `model`: the weights, with the updates added.

        Args:
          params: Those of this module.
          base: Its collection `base`.
        """
        return _weights(params, base, self.alpha / self.rank)

    def keep(self, params: PyTree, names: PyTree) -> Any:
        """Returns the collection `base` of parameters of `model`.

        Args:
          params: Parameters of `model`.
          names: The same tree, with the logical names of their axes.
        """
        if self.base_dtype is None:
            return params
        return _int8.quantize(params, names)

    def axis_names(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the logical names of the axes of the weights, for some arguments."""
        model = self.model.clone(parent=None)
        return kd_nn.logical_axes(model, *args, **kwargs)["params"]

    def _run(
        self,
        function: Callable[..., Any],
        args: Any,
        kwargs: Any,
        *,
        is_adapted: bool,
    ) -> Any:
        self._check()
        # Called again while initializing, it has its weights.
        is_initializing = self.is_initializing() and not self.variables.get(BASE)
        is_boxed = (
            False  # with the names of the axes, which only `logical_axes` asks for
        )

        def weights_of(variables: Mapping[str, Any]) -> dict[str, Any]:
            base = variables.get(BASE, {})
            if is_initializing and not base:
                return dict(variables)
            params = variables.get("params", {}) if is_adapted else {}
            return {"params": self.weights(*nn.meta.unbox((params, base)))}

        def kept_of(variables: Mapping[str, Any]) -> dict[str, Any]:
            nonlocal is_boxed
            params = nn.meta.unbox(variables["params"])
            is_boxed |= _has_boxes(variables)
            return self._split(params, args, kwargs, is_boxed=is_boxed)

        run = nn.map_variables(
            function,
            ("params", BASE),
            trans_in_fn=weights_of,
            trans_out_fn=kept_of,
            init=is_initializing,
        )
        return run(self.model, *args, **kwargs)

    def _split(
        self, params: PyTree, args: Any, kwargs: Any, *, is_boxed: bool
    ) -> dict[str, Any]:
        """Returns adapters as parameters, and the weights as `base`."""
        names = self.axis_names(*args, **kwargs)
        adapters = _low_rank.init_adapters(
            params,
            names,
            self.targets,
            rank=self.rank,
            make_rng=functools.partial(self.make_rng, "params"),
        )
        base = self.keep(params, names)
        if is_boxed:
            base = _low_rank.boxed(base, names)
        return {"params": adapters, BASE: base}

    def _check(self) -> None:
        if self.rank < 1:
            raise _low_rank.LoRAError(f"`rank` must be >= 1: got {self.rank}.")
        if self.base_dtype not in (None, "int8"):
            raise _low_rank.LoRAError(
                f"`base_dtype` must be 'int8' or None: got {self.base_dtype!r}."
            )
        if isinstance(self.targets, str):
            raise _low_rank.LoRAError(
                f"`targets` must be a list of globs: got {self.targets!r}. Put it into "
                "brackets."
            )


def _call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    call: Any = module
    return call(*args, **kwargs)


def _has_boxes(tree: PyTree) -> bool:
    leaves = jax.tree.leaves(tree, is_leaf=_is_box)
    return any(map(_is_box, leaves))


def _is_box(x: object) -> bool:
    return isinstance(x, nn.meta.AxisMetadata)


def merge_lora(model: LoRA, params: PyTree, collections: Mapping[str, Any]) -> Any:
    """Returns the parameters of `model.model` with the updates added, to be used alone.

    Args:
      model: The tuned model.
      params: Its parameters, `state.params`.
      collections: Its collections, `state.collections`.
    """
    scale = model.alpha / model.rank
    return _jitted_weights(params, collections[BASE], scale)


def _weights(params: PyTree, base: PyTree, scale: float) -> Any:
    base = _int8.dequantize(base, jnp.float32)
    return _low_rank.add_updates(base, params, scale=scale)


# Of this function, and not of each model's method: it is compiled once.
_jitted_weights = jax.jit(_weights, static_argnums=2)
