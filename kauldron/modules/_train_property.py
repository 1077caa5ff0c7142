"""Train/eval mode of modules, without passing a flag through every call.

The value travels in a context variable: `kd.train.forward` sets it, and so does
`set_train_property` in your own code. Flax itself is not touched.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
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
