"""Measures by the names of the command: `dice`, `hd95`, `asd`, `psnr`, ..."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from kauldron._base import errors
from kauldron.volumes import metrics
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.metrics.case_state import CaseMetric
from kauldron.volumes.metrics.intensities import Window

_REGIONS = ("dice", "hd", "hd95", "asd", "surface_dice")
_INTENSITIES = ("mae", "mse", "psnr", "ssim")
_RANGED = ("psnr", "ssim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What measures need to know.

    Attributes:
      data_range: Width of the range of the values, for PSNR and SSIM; never guessed.
      ssim_window: `'3d'` for cubes, `'2d'` for squares in each slice.
      tolerance_mm: Largest distance that is close, for the surface Dice.
      hd_pooling: `'directed_max'` or `'pooled'`, for Hausdorff distances.
    """

    data_range: float | None = None
    ssim_window: Window = "3d"
    tolerance_mm: float = 1.0
    hd_pooling: Literal["directed_max", "pooled"] = "directed_max"


def check_names(names: Sequence[str], options: Options) -> None:
    """Raises VolumeError unless all are names of measures that can be computed."""
    if not names:
        raise VolumeError("Say what is measured, such as `metrics=('dice', 'hd95')`.")
    for name in names:
        make(name, (1,), options)
    kinds = {is_of_regions(name) for name in names}
    if len(kinds) > 1:
        raise VolumeError(
            "Measures of label maps and of intensities are of different files: evaluate "
            f"them one after the other, not {', '.join(names)} together."
        )


def is_of_regions(name: str) -> bool:
    """Whether a measure is one of label maps."""
    return name not in _INTENSITIES


def make(
    name: str, classes: Mapping[str, int] | Sequence[int], options: Options
) -> CaseMetric:
    """Returns the metric of a name.

    Raises:
      VolumeError: If there is none, or it needs a range that is not given.
    """
    if name in _RANGED and options.data_range is None:
        raise VolumeError(
            f"`{name}` needs `data_range` (`--data_range`), the width of the range of the values: it is never "
            "guessed. For instance 255, or 4000 for a CT in Hounsfield units."
        )
    regions = {
        "pred_labels": "preds",
        "labels": "refs",
        "region_mask": "mask",
        "case": "case",
        "classes": classes,
    }
    pair = {"preds": "preds", "targets": "refs", "region_mask": "mask", "case": "case"}
    data_range = options.data_range or 1.0
    if name == "dice":
        return metrics.Dice(**regions)
    if name == "asd":
        return metrics.SurfaceDistance(**regions)
    if name == "surface_dice":
        return metrics.SurfaceDice(**regions, tolerance_mm=options.tolerance_mm)
    if found := re.fullmatch(r"hd(\d+(?:\.\d+)?)?", name):
        percentile = float(found[1] or 100)
        if percentile <= 100:
            return metrics.Hausdorff(
                **regions, percentile=percentile, pooling=options.hd_pooling
            )
    if name == "mae":
        return metrics.MeanAbsoluteError(**pair)
    if name == "mse":
        return metrics.MeanSquaredError(**pair)
    if name == "psnr":
        return metrics.Psnr(**pair, data_range=data_range)
    if name == "ssim":
        return metrics.Ssim(**pair, data_range=data_range, window=options.ssim_window)
    known = [*_REGIONS, *_INTENSITIES]
    raise VolumeError(
        f"There is no measure {name!r}.{errors.did_you_mean(name, known)} There are "
        f"{', '.join(known)}; hd with any percentile."
    )
