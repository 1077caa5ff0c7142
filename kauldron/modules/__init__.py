"""`kd.nn`: Flax modules aware of keys and of train/eval mode, from layers to models.

Sub-rooms, each imported when a name of it is used: `attention`, `transformers`,
`language`, `images`, `generative`, `graph`.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.modules"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        **_names("_autoencoder", "FlatAutoencoder"),
        **_names("_dropout", "Dropout"),
        **_names("_einops", "Rearrange Reduce"),
        **_names("_logical_axes", "AXIS_NAMES logical_axes with_logical_axes"),
        **_names("_sequential", "Identity Sequential"),
        **_names("_train_property", "set_train_property train_property"),
        # attention
        # transformers
        # language
        # images
        # generative
        # graph
        **_names("graph._graph", "Graph"),
        **_names("graph._node", "GraphError Node"),
        **_names("graph._shapes", "downsampling_factor eval_shape output_shapes"),
    },
)
