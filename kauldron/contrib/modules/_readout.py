"""Readout heads on top of a model's outputs."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen as nn

from kauldron import kontext
from kauldron.ktyping import PyTree


class ReadoutWrapper(nn.Module):
    """A model, and heads that read what it returns or what its modules return.

    The result has everything that the model returns, and `readouts`, by head. Unless
    `finetune`, no gradient goes from the heads into the model; whether its parameters
    change all the same is up to the optimizer (weight decay): see `kd.optim.select`.

    Attributes:
      model: The model.
      model_inputs: Name of an argument of the model -> key, if it has no keys of its own.
      readout_heads: Name -> module.
      readout_inputs: Name of a head -> its keys, `{argument: key}`, or one key for its
        only argument. A head without an entry has keys of its own. Keys begin with
        `preds.`, which is what the model returns, or with `interms.`, as in
        `interms.encoder.__call__[0]`, with paths that begin at the model.
      finetune: Whether the heads train the model, too.

    Example:

    ```python
    kd.contrib.nn.ReadoutWrapper(
        model=my_model,
        readout_heads={"classes": nn.Dense(10)},
        readout_inputs={"classes": "interms.encoder.__call__[0]"},
    )
    # ... and `preds.readouts.classes` is what a loss reads.
    ```
    """

    model: nn.Module
    readout_heads: Mapping[str, nn.Module]
    model_inputs: Mapping[str, str] | None = None
    readout_inputs: Mapping[str, Any] | None = None
    finetune: bool = False

    def __kontext_keys__(self) -> dict[str, Any]:
        if self.model_inputs is not None:
            return dict(self.model_inputs)
        return kontext.get_keypaths(self.model)

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        interms: dict[str, Any] = {}
        path = self.model.path

        def record(
            next_fun: Callable[..., Any],
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            context: Any,
        ) -> Any:
            result = next_fun(*args, **kwargs)
            inner = context.module.path
            if inner[: len(path)] == path:
                _record(interms, inner[len(path) :], context.method_name, result)
            return result

        with nn.intercept_methods(record):
            preds = self.model(*args, **kwargs)
        read = {"preds": preds, "interms": interms}
        if not self.finetune:
            read = jax.lax.stop_gradient(read)
        context = types.SimpleNamespace(**read)
        readouts = {
            name: self._read(name, head, context)
            for name, head in self.readout_heads.items()
        }
        return _with_readouts(preds, readouts)

    def _read(self, name: str, head: nn.Module, context: Any) -> Any:
        keys = (self.readout_inputs or {}).get(name)
        if isinstance(keys, str):
            return head(kontext.resolve_from_keypaths(context, {name: keys})[name])
        if keys is not None:
            return head(**kontext.resolve_from_keypaths(context, dict(keys)))
        if not kontext.get_keypaths(head):
            raise ValueError(
                f"The head {name!r} of ReadoutWrapper has no keys: say what it reads, "
                f"`readout_inputs={{{name!r}: 'preds.features'}}`."
            )
        return head(**kontext.resolve_from_keyed_obj(context, head, func=head.__call__))


def _record(interms: dict[str, Any], path: Any, method: str, result: PyTree) -> None:
    if any(not isinstance(x, jax.Array) for x in jax.tree.leaves(result)):
        return  # functions that return no values, such as `setup`
    for part in path:
        interms = interms.setdefault(part, {})
    interms[method] = (*interms.get(method, ()), result)


def _with_readouts(preds: PyTree, readouts: dict[str, Any]) -> Any:
    if isinstance(preds, Mapping):
        if "readouts" in preds:
            raise ValueError("The model returns `readouts` itself: nothing is wrapped.")
        return {**preds, "readouts": readouts}
    names = {f.name for f in dataclasses.fields(preds)} if _is_data(preds) else set()
    if "readouts" in names:
        return dataclasses.replace(preds, readouts=readouts)
    if names:
        fields = {name: getattr(preds, name) for name in names}
        return {**fields, "readouts": readouts}
    return {"preds": preds, "readouts": readouts}


def _is_data(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
