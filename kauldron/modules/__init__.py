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
        **_names("generative._diffusion", "Diffusion"),
        **_names("generative._flow_matching", "FlowMatching"),
        **_names("generative._networks", "ConditionalMLP TimeEmbedding"),
        **_names(
            "generative._noise_schedules", "CosineNoise LinearNoise NoiseSchedule"
        ),
        **_names("generative._samplers", "ancestral ddim euler heun"),
        **_names("generative._vae", "VAE"),
        # graph
    },
)
