"""`kd.volumes.transforms`: transforms of volumes, most with an inverse."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.volumes.transforms"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        **_names("base", "VolumeTransform PointTransform Part Same"),
        **_names("base", "Kind Undo Others Reach Point Halo Box Whole"),
        **_names("chain", "Chain Opened opened read_region"),
        **_names("boxes", "BoxTransform Flip Permute Pad Crop"),
        **_names("orientation", "Reorient orientation_of"),
        **_names("intensity", "Clip Normalize Standardize IntensityWindows Replace"),
        **_names("resampling", "Resample"),
        **_names("foreground", "CropToForeground Mask"),
        **_names("histograms", "HistogramMatching Statistics quantiles_of"),
        **_names("labels", "OneHot Argmax Softmax SelectLabels MergeLabels Dilate"),
        **_names("gradients", "Gradient VectorUnits"),
        **_names("cache", "CacheToDisk"),
    },
)
