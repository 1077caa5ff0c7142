"""Drawing a model as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flax import linen as nn

from kauldron import kontext, modules
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.inspect import _graph_picture, _model_trace, _svg, _tree_picture
from kauldron.ktyping import PyTree
from kauldron.step import key_checks, module_errors

if TYPE_CHECKING:
    from kauldron import train


class ModelTraceError(errors.UserError, ValueError):
    """A model that does not take what its run would give it."""


def draw_model(model: nn.Module, *args: PyTree, **kwargs: PyTree) -> _svg.Picture:
    """Draws a model with the shapes that flow through it; nothing runs.

    Of a `kd.nn.Graph`, its nodes and what they read of each other; of any other model,
    its modules in the order in which they are called.

    Args:
      model: Any Flax module.
      *args: What it is called with: arrays, or anything with `shape` and `dtype`.
      **kwargs: Likewise. A `kd.nn.Graph` takes `batch=...`.

    Returns:
      The picture: notebooks show it, `.save("model.svg")` writes it.

    Example:

    ```python
    import jax.numpy as jnp
    from flax import linen as nn
    from kauldron import kd

    picture = kd.inspect.draw_model(nn.Sequential([nn.Dense(3)]), jnp.zeros((2, 8)))
    assert "f32[2 8] → f32[2 3]" in picture.svg
    ```
    """
    trace = _model_trace.trace(model, *args, **kwargs)
    if isinstance(model, modules.Graph):
        return _graph_picture.draw(model, trace)
    return _tree_picture.draw(trace)


def draw_model_of(trainer: train.Trainer) -> _svg.Picture:
    """Draws the model of a trainer, as its training data goes through it.

    Raises:
      KeyPathError: A `KeyError`: the model reads a key that does not exist.
      ModelTraceError: A `ValueError`: it cannot be called with what its keys name.
    """
    model = trainer.model
    context = key_checks.initial_context(None, trainer.train_ds, field="cfg.train_ds")
    problems = kontext.check_keys(context, model, prefix="cfg.model")
    if problems:
        raise kontext.keys_error(problems)
    args, kwargs = data_utils.get_model_inputs(model, context)
    try:
        return draw_model(model, *args, **kwargs)
    except Exception as e:  # whatever the user's code says
        raise ModelTraceError(f"cfg.model: {module_errors.describe(e)}") from e
