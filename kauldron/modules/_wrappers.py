"""Modules around a module: keys and the train flag for models that have none."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron._base import errors
from kauldron.ktyping import PyTree
from kauldron.modules import _train_property


class DummyModel(nn.Module):
    """Returns `{"logits": [42.0]}` for anything: a stand-in without parameters.

    Attributes:
      inputs: Key to an input that is ignored.
    """

    inputs: kontext.Key | None = None

    @nn.compact
    def __call__(self, inputs: PyTree = None) -> dict[str, jax.Array]:
        return {"logits": jnp.asarray([42.0])}


class WrapperModule(nn.Module):
    """A module around another one, with the same parameters under the same names.

    A subclass changes what goes in or comes out. The keys are those of the model.

    Attributes:
      model: The module inside; its parameters are not one level deeper.
    """

    model: nn.Module

    def __kontext_keys__(self) -> dict[str, Any]:
        return kontext.get_keypaths(self.model)

    def setup(self) -> None:
        nn.share_scope(self, self.model)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)


class ExternalModule(WrapperModule):
    """A Flax module that knows nothing of keys or of the train property, with both.

    Attributes:
      keys: Key to its only argument, or name of an argument -> key.
      train_kwarg_name: Name of its argument that tells whether this is a training pass;
        `'~deterministic'` for one that tells the opposite.

    Raises (when called):
      ValueError: If the model has no argument of that name.

    Example:

    ```python
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, deterministic):
            return {"logits": nn.Dropout(0.1)(nn.Dense(2)(x), deterministic=deterministic)}

    model = kd.nn.ExternalModule(
        model=Net(), keys="batch.x", train_kwarg_name="~deterministic"
    )
    ```
    """

    keys: str | Mapping[str, str] = kontext.REQUIRED
    train_kwarg_name: str | None = None

    is_training = _train_property.train_property()

    def __kontext_keys__(self) -> dict[str, Any]:
        return {_ONLY: self.keys} if isinstance(self.keys, str) else dict(self.keys)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.keys, str) and _ONLY in kwargs:
            args = (kwargs.pop(_ONLY), *args)
        if self.train_kwarg_name is not None:
            name = self.train_kwarg_name.removeprefix("~")
            _check_argument(self.model, name)
            is_inverted = self.train_kwarg_name.startswith("~")
            kwargs[name] = self.is_training != is_inverted
        return self.model(*args, **kwargs)


# The name that the argument of a model goes by whose key is a string.
_ONLY = "inputs"


def _check_argument(model: nn.Module, name: str) -> None:
    parameters = inspect.signature(model.__call__).parameters
    is_open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if name not in parameters and not is_open:
        raise ValueError(
            f"`train_kwarg_name` names no argument of {type(model).__name__}: got "
            f"{name!r}.{errors.did_you_mean(name, parameters)} Its arguments are "
            f"{list(parameters)}."
        )
