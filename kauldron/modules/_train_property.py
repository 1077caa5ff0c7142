"""What a forward pass is for, without passing flags through every call.

Whether it is a training pass, and which intermediates somebody reads, travels in context
variables: `kd.train.forward` sets them, and so do `set_train_property` and
`intermediates_read` in your own code. Flax itself is not touched.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn

_is_training: contextvars.ContextVar[bool | None] = contextvars.ContextVar(
    "kauldron_is_training", default=None
)


def train_property() -> Any:
    """Declares a read-only property of a Flax module: is this a training pass?

    Assign it to an attribute without annotation (an annotated one becomes a field).

    Raises (when the property is read):
      ValueError: Outside `init`/`apply`, or if the mode was not set.

    Example:

    ```python
    class Noise(nn.Module):
        is_training = kd.nn.train_property()

        @nn.compact
        def __call__(self, x):
            if not self.is_training:
                return x
            return x + jax.random.normal(self.make_rng("default"), x.shape)

    with kd.nn.set_train_property(False):
        y = Noise().apply({}, x)
    ```
    """
    return property(_read)


def _read(module: nn.Module) -> bool:
    if module.scope is None:
        raise ValueError(
            f"The train property of {type(module).__name__} exists only inside "
            "`init` and `apply`."
        )
    value = _is_training.get()
    if value is None:
        raise ValueError(
            f"{type(module).__name__} asks whether this is a training pass, and nobody "
            "said. Run the model with `kd.train.forward(..., is_training=...)`, or put "
            "`with kd.nn.set_train_property(True):` around `model.init` and "
            "`model.apply`."
        )
    return value


@contextlib.contextmanager
def set_train_property(is_training: bool) -> Iterator[None]:
    """Sets the train property of all modules called inside the block; nestable.

    Raises:
      ValueError: If `is_training` is not a bool.
    """
    if not isinstance(is_training, bool):
        raise ValueError(f"The train property must be a bool: got {is_training!r}.")
    token = _is_training.set(is_training)
    try:
        yield
    finally:
        _is_training.reset(token)


_read_values: contextvars.ContextVar[bool | Callable[[Any, str], bool]] = (
    contextvars.ContextVar("kauldron_intermediates_read", default=True)
)


@contextlib.contextmanager
def intermediates_read(which: bool | Callable[[Any, str], bool]) -> Iterator[None]:
    """Says which intermediate values are read, of the models called in the block.

    Those that are costly, such as the weights of attention, are made only then.

    Args:
      which: All, none, or a function of a module and a name.
    """
    token = _read_values.set(which)
    try:
        yield
    finally:
        _read_values.reset(token)


def is_read(module: nn.Module, name: str) -> bool:
    """Whether somebody reads an intermediate value of a module."""
    if not module.is_mutable_collection("intermediates"):
        return False
    which = _read_values.get()
    return which(module, name) if callable(which) else which
