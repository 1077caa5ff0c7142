"""A pair of pure functions as a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from kauldron.ktyping import PyTree


class FunctionModule(nn.Module):
    """A model that is two functions, `init` and `apply`, such as those of Haiku.

    Keys and the train flag come from an `ExternalModule` around it.

    Attributes:
      init_fn: `(rng, *args, **kwargs) -> params`, a dict by name of anything made of
        arrays; with `has_state`, `-> (params, state)`, two such dicts.
      apply_fn: `(params, *args, **kwargs) -> output`; with `has_state`,
        `(params, state, *args, **kwargs) -> (output, state)`.
      has_state: Whether there is a state that training steps change, such as running means.
        It is the collection `state`.
      rng_kwarg_name: Name of an argument of `apply_fn` for a random key, if it takes one.
        It is `None` where there are no random numbers, as in evaluations.
      rng_stream: The stream of random numbers that the key is of.

    Raises (when called):
      TypeError: If parameters or state are no dict.

    Example:

    ```python
    def init(rng, x):
        return {"w": jax.random.normal(rng, (x.shape[-1], 2))}

    model = kd.nn.ExternalModule(
        model=kd.nn.FunctionModule(init, lambda params, x: x @ params["w"]),
        keys="batch.x",
    )
    ```
    """

    init_fn: Callable[..., Any]
    apply_fn: Callable[..., Any]
    has_state: bool = False
    rng_kwarg_name: str | None = None
    rng_stream: str = "default"

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_initializing() and not self.variables.get("params"):
            made = self.init_fn(self.make_rng("params"), *args, **kwargs)
            params, state = made if self.has_state else (made, {})
            self._put("params", params)
            self._put("state", state)
        if self.rng_kwarg_name is not None:
            # `init(key)` knows one stream, which stands in for all.
            has_rng = self.is_initializing() or self.has_rng(self.rng_stream)
            rng = self.make_rng(self.rng_stream) if has_rng else None
            kwargs[self.rng_kwarg_name] = rng
        params = self.variables.get("params", {})
        if not self.has_state:
            return self.apply_fn(params, *args, **kwargs)
        state = self.variables.get("state", {})
        output, state = self.apply_fn(params, state, *args, **kwargs)
        # What `init` returns is the state before the first step.
        if self.is_mutable_collection("state") and not self.is_initializing():
            self._put("state", state)
        return output

    def _put(self, collection: str, values: PyTree) -> None:
        if not isinstance(values, Mapping):
            raise TypeError(
                f"`init_fn` of a FunctionModule must return its {collection} as a dict: got "
                f"{type(values).__name__}. Give it a name: `{{'layers': ...}}`."
            )
        for name, value in values.items():
            self.put_variable(collection, name, value)
