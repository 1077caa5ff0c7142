"""What the model of a trainer is called with, as shapes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kauldron import kontext
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.step import key_checks, module_errors

if TYPE_CHECKING:
    from kauldron import train


class ModelTraceError(errors.UserError, ValueError):
    """A model that does not take what its run would give it."""


def model_inputs(trainer: train.Trainer) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the arguments of the model of a trainer, as its training data gives them.

    Raises:
      KeyPathError: A `KeyError`: the model reads a key that does not exist.
    """
    context = key_checks.initial_context(None, trainer.train_ds, field="cfg.train_ds")
    problems = kontext.check_keys(context, trainer.model, prefix="cfg.model")
    if problems:
        raise kontext.keys_error(problems)
    return data_utils.get_model_inputs(trainer.model, context)


@contextlib.contextmanager
def telling_model_errors() -> Iterator[None]:
    """Raises what a model raises as `ModelTraceError`, with the module it came from."""
    try:
        yield
    except errors.UserError:
        raise
    except Exception as e:  # whatever the user's code says
        raise ModelTraceError(f"cfg.model: {module_errors.describe(e)}") from e
