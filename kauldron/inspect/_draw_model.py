"""Drawing a model as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flax import linen as nn

from kauldron import modules
from kauldron.inspect import (
    _graph_picture,
    _model_trace,
    _svg,
    _tree_picture,
)
from kauldron.ktyping import PyTree

if TYPE_CHECKING:
    from kauldron import train


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
    return _draw(model, _model_trace.trace(model, *args, **kwargs))


def draw_model_of(trainer: train.Trainer) -> _svg.Picture:
    """Draws the model of a trainer, as its training data goes through it.

    Raises:
      KeyPathError: A `KeyError`: the model reads a key that does not exist.
      ModelTraceError: A `ValueError`: it cannot be called with what its keys name.
    """
    return _draw(trainer.model, _model_trace.trace_of(trainer))


def _draw(model: nn.Module, trace: _model_trace.Trace) -> _svg.Picture:
    if isinstance(model, modules.Graph):
        return _graph_picture.draw(model, trace)
    return _tree_picture.draw(trace)
