"""`kd.volumes.metrics`: measures of volumes, in millimetres.

Functions measure one pair of volumes `[z y x]`; classes are metrics for configs and
evaluators, with a value for each case.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.volumes.metrics"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # one pair of volumes
        **_names("overlap", "dice"),
        **_names(
            "surfaces", "SurfaceDistances hausdorff surface_dice surface_distance"
        ),
        **_names("landmarks", "tre"),
        **_names("intensities", "psnr ssim"),
        # values for each case
        **_names("case_state", "CaseMetric CaseState"),
        **_names("region_members", "Dice Hausdorff SurfaceDice SurfaceDistance"),
        **_names(
            "intensity_members", "MeanAbsoluteError MeanSquaredError Psnr Ssim Tre"
        ),
    },
)
