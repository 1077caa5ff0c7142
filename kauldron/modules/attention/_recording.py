"""Calls of attention, kept for who looks: the weights are made of them afterwards.

Attention that saves memory never has the weights of all pairs. What it is called with is
small, and all that the weights follow from: inside `record_attention` the module that
calls stores that as an intermediate value. Outside, a call asks once, when it is traced,
whether somebody looks.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from kauldron.ktyping import Float
from kauldron.modules.attention import _blocks

# Name of the intermediate value of a module.
NAME = "attention_call"

# The modules that are running, outermost first; `None` where nobody looks.
_running: contextvars.ContextVar[list[nn.Module] | None] = contextvars.ContextVar(
    "kauldron_attention_recorded", default=None
)


class AttentionCall(flax.struct.PyTreeNode):
    """What attention was called with: as much as its weights follow from.

    Inside a scan over layers, each array has the layers as a further first axis.

    Attributes:
      inputs: Queries and keys, with the bias; `value` is left out.
      places: Positions, documents and mask.
      spec: What is fixed when attention is compiled.
      num_heads: Heads of the queries.
    """

    inputs: _blocks.Inputs
    places: _blocks.Places
    spec: _blocks.Spec = flax.struct.field(pytree_node=False)
    num_heads: int = flax.struct.field(pytree_node=False)

    @property
    def num_stacked(self) -> tuple[int, ...]:
        """The axes that scans have put in front, such as `(num_layers,)`."""
        return self.inputs.query.shape[:-5]

    @property
    def num_rows(self) -> int:
        """Rows of the batch; several leading axes are one here."""
        return self.inputs.query.shape[-5]

    def at(self, *index: int) -> AttentionCall:
        """Returns the call of one layer of those that a scan has stacked."""
        return jax.tree.map(lambda x: x[index], self)

    def rows(self, start: int, stop: int) -> AttentionCall:
        """Returns the call on some rows of the batch only."""

        def cut(x: Any) -> Any:  # one row stands for all where they are alike
            return x if x.shape[0] == 1 else x[start:stop]

        if self.num_stacked:
            raise ValueError("Choose a layer with `at` first.")
        return jax.tree.map(cut, self)

    def weights(self) -> Float["*layers b n t s"]:
        """Returns how much each query attends to each key, in f32.

        Those of a query sum to one; they are zero if it sees no key.
        """
        function = _weights
        for _ in self.num_stacked:
            function = jax.vmap(function)
        found = function(self)
        *lead, k, g, t, s = found.shape
        return found.reshape(*lead, k * g, t, s)


def _weights(call: AttentionCall) -> Float["b k g t s"]:
    logits = _blocks.scores(call.spec, call.inputs, call.places)
    shape = (*call.inputs.query.shape[:-1], call.inputs.key.shape[-2])
    logits = jnp.broadcast_to(logits, shape)
    maximum = logits.max(axis=-1, keepdims=True, initial=-jnp.inf)
    weights = jnp.exp(logits - _blocks.finite(maximum))
    norm = weights.sum(axis=-1, keepdims=True)
    return weights / jnp.where(norm == 0, 1.0, norm)


@contextlib.contextmanager
def record_attention() -> Iterator[None]:
    """Keeps what attention is called with, of the modules that are called in the block.

    A module that calls `kd.nn.dot_product_attention` stores a `kd.nn.AttentionCall` as its
    intermediate value `attention_call`, of which `weights()` makes the weights. Modules
    whose weights are made anyway store these, as `attn_weights`; those of Flax as
    `attention_weights`. Intermediates must be mutable. Nothing is compiled for it where
    nobody looks.

    Example:

    ```python
    with kd.nn.record_attention():
        _, variables = model.apply(variables, x, mutable=["intermediates"])
    [call] = variables["intermediates"]["layer_0"]["attention"]["attention_call"]
    call.weights()  # f32[b heads t s]
    ```
    """
    modules: list[nn.Module] = []

    def follow(
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        if _can_sow(context):
            kwargs = {**kwargs, "sow_weights": True}
        modules.append(context.module)
        try:
            return next_fun(*args, **kwargs)
        finally:
            modules.pop()

    token = _running.set(modules)
    try:
        with nn.intercept_methods(follow):
            yield
    finally:
        _running.reset(token)


def _can_sow(context: nn.module.InterceptorContext) -> bool:
    """Whether this is Flax's attention with its own function, which stores weights."""
    module = context.module
    if not isinstance(module, nn.MultiHeadDotProductAttention):
        return False
    is_usual = module.attention_fn is nn.dot_product_attention
    takes = inspect.signature(context.orig_method).parameters
    return is_usual and context.method_name == "__call__" and "sow_weights" in takes


def is_recorded() -> bool:
    """Whether somebody looks."""
    return bool(_running.get())


def record(spec: _blocks.Spec, inputs: _blocks.Inputs, places: _blocks.Places) -> None:
    """Stores a call in the module that makes it, if somebody looks."""
    modules = _running.get()
    if not modules:
        return
    b, k, g = inputs.query.shape[:3]
    del b
    kept = inputs._replace(value=None)
    modules[-1].sow("intermediates", NAME, AttentionCall(kept, places, spec, k * g))
