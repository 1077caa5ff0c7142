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
        **_names("_activations", "PReLU"),
        **_names("_autoencoder", "FlatAutoencoder"),
        **_names("_dropout", "Dropout"),
        **_names("_einops", "Rearrange Reduce"),
        **_names("_logical_axes", "AXIS_NAMES logical_axes with_logical_axes"),
        **_names("_norms", "BatchNorm"),
        **_names("_sequential", "Identity Sequential"),
        **_names("_train_property", "set_train_property train_property"),
        # attention
        # transformers
        # language
        # images
        **_names(
            "images._blocks", "AttentionGate ConvBlock ResidualBlock SqueezeExcitation"
        ),
        **_names("images._conv", "Conv ConvTranspose SpectralConv"),
        **_names("images._mixer", "MlpMixer"),
        **_names("images._patch_discriminator", "PatchDiscriminator"),
        **_names("images._resampling", "Downsample Upsample"),
        **_names("images._residual_unet", "ResidualUNet"),
        **_names("images._spatial_transformer", "SpatialTransformer"),
        **_names("images._unet", "UNet"),
        **_names("images._unet_plus_plus", "UNetPlusPlus"),
        # generative
        # graph
    },
)
