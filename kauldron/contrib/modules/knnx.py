"""`flax.nnx` modules as models: with keys, and usable in place of a Linen module."""

from __future__ import annotations

import dataclasses
import threading
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, dataclass_transform

import jax
from flax import linen as nn
from flax import nnx

from kauldron import kontext, modules
from kauldron.ktyping import PyTree

# The collection of everything but parameters and random numbers, such as means of a
# batch norm.
_STATE = "nnx"
_PARAMS = "params"
_INTERMS = "intermediates"

# To record outputs, `nnx.capture` changes the classes of modules as long as it runs, for all
# threads; one of them may describe a run while another trains.
_ONE_AT_A_TIME = threading.RLock()


@dataclass_transform(kw_only_default=True, field_specifiers=(dataclasses.field,))
class KdNnxModule(nnx.Module):
    """Base of NNX modules that are models: `cfg.model = MyModel(x="batch.x")`.

    A subclass is a dataclass. It makes its parts in `setup(rngs)`, not in `__init__`, so
    that an object can be made without random numbers; `init` and `apply` make the parts.
    In training, `module.train()` is called before, in evaluation `module.eval()`.

    What `apply` takes and gives, by collection: `params`; `nnx`, every other variable,
    by path; `intermediates`, what was sown and what was returned.

    Attributes of a subclass annotated `kontext.Key` name the arguments of `__call__`.

    Example:

    ```python
    class Classifier(kd.contrib.knnx.KdNnxModule):
        x: kd.kontext.Key = kd.kontext.REQUIRED
        num_classes: int

        def setup(self, rngs):
            self.dense = nnx.Linear(4, self.num_classes, rngs=rngs)

        def __call__(self, x):
            return {"logits": self.dense(x)}
    ```
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # subclasses are dataclasses

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)

    def setup(self, rngs: nnx.Rngs) -> None:
        """Makes the parts of the module; to override."""
        raise NotImplementedError(f"{type(self).__qualname__} must define `setup`.")

    def init(
        self, rngs: Any, *args: Any, method: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns the initial variables by collection, as of a Linen module."""
        with _ONE_AT_A_TIME:
            module = self._build(rngs)
            # As they are before the call, which is there to find mistakes: it would move
            # the running means of a batch norm.
            variables = _variables(module)
            _call(module, method, args, kwargs)
        return variables

    def apply(
        self,
        variables: Mapping[str, Any],
        *args: Any,
        rngs: Any = None,
        method: Any = None,
        mutable: Any = False,
        capture_intermediates: Any = False,
        **kwargs: Any,
    ) -> Any:
        """Calls the module with these variables, as of a Linen module.

        Args:
          variables: By collection.
          *args: Of the call.
          rngs: Keys by stream.
          method: Method to call; `__call__` unless given.
          mutable: Whether the variables after the call are returned, too.
          capture_intermediates: Whether what the methods of its parts return is recorded,
            by path; what the module itself returns always is.
          **kwargs: Of the call.

        Returns:
          The result; with `mutable`, the variables by collection as well.
        """
        with _ONE_AT_A_TIME:
            module = self._build(rngs)
            _update(module, nnx.Param, variables.get(_PARAMS, {}))
            _update(module, _OTHERS, variables.get(_STATE, {}))
            result, interms = _call(module, method, args, kwargs, capture_intermediates)
        if not mutable:
            return result
        interms = {**interms, "__call__": (result,)}
        return result, {**_variables(module), _INTERMS: interms}

    def _build(self, rngs: Any) -> Any:
        fields = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init
        }
        module = type(self)(**fields)
        module.setup(_to_rngs(rngs))
        _set_mode(module)
        return module


# No parameter, no random number, nothing that was sown.
_OTHERS = nnx.All(
    nnx.Variable, nnx.Not(nnx.Any(nnx.Param, nnx.RngState, nnx.Intermediate))
)


def _call(
    module: Any, method: Any, args: Any, kwargs: Any, capture: Any = False
) -> tuple[Any, dict[str, Any]]:
    """Returns what a method returns, and what was recorded meanwhile."""
    if method is None:
        method = type(module).__call__
    elif isinstance(method, str):
        method = getattr(type(module), method)
    outputs = nnx.Intermediate if capture else None
    recorded = nnx.capture(method, nnx.Intermediate, method_outputs=outputs)
    result, interms = recorded(module, *args, **kwargs)
    return result, _to_dict(interms)


def _to_rngs(rngs: Any) -> nnx.Rngs:
    if isinstance(rngs, nnx.Rngs):
        return rngs
    if not isinstance(rngs, Mapping):
        return nnx.Rngs(jax.random.key(0) if rngs is None else rngs)
    # In an evaluation there may be none: then nothing random is used either.
    return nnx.Rngs(**{"default": jax.random.key(0), **rngs})


class _Asker:
    """Reads the train property outside of a Linen module."""

    scope = "none is needed"
    is_training = modules.train_property()


def _set_mode(module: nnx.Module) -> None:
    try:
        is_training = _Asker().is_training
    except ValueError:  # unspecified: leave it as created
        return
    module.train() if is_training else module.eval()


def _variables(module: Any) -> dict[str, Any]:
    others = _to_dict(nnx.state(module, _OTHERS))
    params = {_PARAMS: _to_dict(nnx.state(module, nnx.Param))}
    return {**params, _STATE: others} if others else params


def _to_dict(state: PyTree) -> dict[str, Any]:
    """Returns a state as nested dicts of arrays; indices become strings."""
    nest: dict[str, Any] = {}
    for path, variable in nnx.to_flat_state(state):
        *parents, last = map(str, path)
        inner = nest
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = variable.get_value()
    return nest


def _update(module: Any, which: Any, values: Mapping[str, Any]) -> None:
    flat = []
    for path, variable in nnx.to_flat_state(nnx.state(module, which)):
        value: Any = values
        for part in map(str, path):
            if part not in value:
                where = ".".join(map(str, path))
                raise ValueError(
                    f"{type(module).__name__} has the variable {where!r}, which the "
                    "variables it is called with have not. Were they made by its `init`?"
                )
            value = value[part]
        flat.append((path, variable.replace(value)))
    nnx.update(module, nnx.from_flat_state(flat))


class _FromNnx(nnx.bridge.ToLinen):
    """Linen module around an NNX module, with keys."""

    keys: Any = None

    def __kontext_keys__(self) -> dict[str, Any]:
        return dict(self.keys or {})


def linen_from_nnx(cls: Callable[..., nnx.Module], *args: Any, **kwargs: Any) -> Any:
    """Returns a Linen module that makes an NNX module and calls it.

    Args:
      cls: Class of the NNX module; it takes `rngs` by name.
      *args: Given to the class.
      **kwargs: Given to the class; those that it annotates with `kontext.Key` name the
        arguments of its `__call__` instead.

    Example:

    ```python
    cfg.model = kd.contrib.nn.linen_from_nnx(MyModel, 4, 10)
    ```
    """
    hints = typing.get_type_hints(cls, include_extras=True) if _is_class(cls) else {}
    keys = {name for name, hint in hints.items() if hint in _KEY_HINTS}
    given = {name: kwargs.pop(name) for name in list(kwargs) if name in keys}
    return _FromNnx(
        nnx_class=_InMode(cls), args=args, kwargs=nn.FrozenDict(kwargs), keys=given
    )


_KEY_HINTS = (kontext.Key, kontext.Key | None)


def _is_class(cls: Any) -> bool:
    return isinstance(cls, type)


@dataclasses.dataclass(frozen=True)
class _InMode:
    """Makes a module and says whether it is trained."""

    cls: Callable[..., nnx.Module]

    def __call__(self, *args: Any, rngs: nnx.Rngs, **kwargs: Any) -> nnx.Module:
        module = self.cls(*args, rngs=_with_default(rngs), **kwargs)
        _set_mode(module)
        return module


def _with_default(rngs: nnx.Rngs) -> nnx.Rngs:
    """Returns streams in which one stands in for those that there are not.

    `init(key)` of a Linen module knows `params` alone, and a module may want `dropout`.
    """
    keys = {name: rngs[name].key.get_value() for name in rngs}
    if "default" in keys:
        return rngs
    known = next(iter(keys.values()), jax.random.key(0))
    return nnx.Rngs(default=jax.random.fold_in(known, 1), **keys)


class LinenModuleFromNnxDef(nn.Module):
    """Linen module of a function that makes an NNX module.

    Attributes:
      nnx_init: From `rngs`, given by name, to the module.
    """

    nnx_init: Callable[..., nnx.Module]

    def setup(self) -> None:
        self.inner = nnx.bridge.ToLinen(nnx_class=_InMode(self.nnx_init))
        nn.share_scope(self, self.inner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


__all__ = ["KdNnxModule", "LinenModuleFromNnxDef", "linen_from_nnx"]
