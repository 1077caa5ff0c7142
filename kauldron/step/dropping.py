"""Dropout in predictions, and nothing else of a training pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn

from kauldron import modules
from kauldron._base import errors


class DropoutError(errors.UserError, ValueError):
    """Predictions with dropout are asked of a model that cannot give them."""


@contextlib.contextmanager
def dropping() -> Iterator[None]:
    """Makes the dropout of models that are called in the block drop.

    Everything else, such as batch norm, stays in the mode of evaluation.

    Raises:
      DropoutError: If no module drops anything, so that all predictions would be the same.
    """
    num_dropouts = 0

    def intercept(
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        nonlocal num_dropouts
        module = context.module
        if context.method_name != "__call__" or not isinstance(module, nn.Dropout):
            return next_fun(*args, **kwargs)
        if not module.rate:
            return next_fun(*args, **kwargs)
        num_dropouts += 1
        if isinstance(module, modules.Dropout):
            with modules.set_train_property(True):
                return next_fun(*args, **kwargs)
        if module.deterministic is not None:
            raise DropoutError(
                f"The dropout {'.'.join(module.path)!r} was made with "
                f"`deterministic={module.deterministic}`, so that nobody else can make "
                "it drop. Use `kd.nn.Dropout`, which follows the mode."
            )
        return next_fun(args[0], deterministic=False)

    with nn.intercept_methods(intercept):
        yield
    if not num_dropouts:
        raise DropoutError(
            "Predictions with dropout are asked for, and the model has none that drops "
            "anything: ask for none, or give the model `kd.nn.Dropout`."
        )
