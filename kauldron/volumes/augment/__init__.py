"""`kd.volumes.augment`: random changes of volumes, drawn once per copy of a case."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.volumes.augment"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        **_names("augmenting", "Augment"),
        **_names("drawn", "Drawn"),
        **_names("base", "Augmentation"),
        **_names("moves", "Affine Grid PlaceMap"),
        **_names("splines", "Spline"),
        **_names("places", "Flip Permute Rotate Scale Translate Elastic"),
        **_names("values", "Brightness Contrast Gamma Noise Blur Cutout LowResolution"),
    },
)
