"""`kd.volumes.evaluate`: predictions against references, file by file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from etils import epath

from kauldron._base import console, shared_files, text_tables
from kauldron.volumes.evaluation import measures, one_case, pairs
from kauldron.volumes.files import volume_files
from kauldron.volumes.geometry.errors import VolumeError

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """The values of cases.

    Attributes:
      cases: Case -> measure -> label -> value; NaN where it is undefined. The label of
        measures of intensities is `''`.
      directions: Measure -> whether `'max'` or `'min'` is better.
      failed: Case -> what is wrong with its files.
      pairs: The files of the cases.
    """

    cases: dict[str, dict[str, dict[str, float]]]
    directions: dict[str, str]
    failed: dict[str, str]
    pairs: tuple[pairs.Pair, ...]

    def labels_of(self, measure: str) -> list[str]:
        """Returns the labels that any case has."""
        found = {x for values in self.cases.values() for x in values[measure]}
        return sorted(found, key=lambda x: (len(x), x))

    def records(self) -> list[dict[str, Any]]:
        """Returns each value with its case, metric and label; `None` if undefined."""
        return [
            {
                "case": case,
                "metric": measure,
                "label": int(label) if label else None,
                "value": _or_none(values[measure].get(label, math.nan)),
            }
            for case, values in self.cases.items()
            for measure in self.directions
            for label in self.labels_of(measure)
        ]

    def aggregates(self) -> list[dict[str, Any]]:
        """Returns mean, spread and quartiles over cases, for each metric and label.

        Of the values that are defined, `count` of them; the others are `num_undefined`.
        """
        rows = []
        for measure in self.directions:
            for label in self.labels_of(measure):
                column = [v[measure].get(label, math.nan) for v in self.cases.values()]
                name = int(label) if label else None
                rows.append({"metric": measure, "label": name, **_of(column)})
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Returns what the JSON file holds."""
        return {
            "cases": self.records(),
            "aggregates": self.aggregates(),
            "directions": self.directions,
            "failed": [{"case": k, "error": v} for k, v in self.failed.items()],
        }

    def write(self, path: Path) -> None:
        """Writes JSON."""
        text = json.dumps(self.as_dict(), indent=1, allow_nan=False)
        out = epath.Path(path)
        out.parent.mkdir(parents=True, exist_ok=True)
        shared_files.write_atomically(out, text + "\n")

    def __str__(self) -> str:
        head = ["metric", "label", "mean", "std", "min", "median", "max", "cases"]
        rows = [head]
        for row in self.aggregates():
            numbers = [row[k] for k in ("mean", "std", "min", "median", "max")]
            undefined = row["num_undefined"]
            counted = f"{row['count']}" + (f" (+{undefined} n/a)" if undefined else "")
            better = {"max": "↑", "min": "↓"}[self.directions[row["metric"]]]
            name = f"{row['metric']} {better}"
            label = "" if row["label"] is None else str(row["label"])
            rows.append([name, label, *map(_told, numbers), counted])
        if not self.cases:
            return "No case could be measured."
        if len(rows) == 1:
            return "Nothing is measured: the files have no label but 0."
        return text_tables.aligned(rows, right=(2, 3, 4, 5, 6))


def evaluate(
    preds: Path,
    refs: Path,
    *,
    metrics: Sequence[str] = ("dice", "hd95", "asd"),
    labels: Sequence[int] | None = None,
    masks: Path | None = None,
    images: Path | None = None,
    data_range: float | None = None,
    ssim_window: Literal["3d", "2d"] = "3d",
    tolerance_mm: float = 1.0,
    hd_pooling: Literal["directed_max", "pooled"] = "directed_max",
    allow_missing: bool = False,
    error_maps: Path | None = None,
    slab_planes: int | None = None,
) -> Evaluation:
    """Compares files of predictions with files of references, case by case.

    Missing files and grids that differ are found before anything is measured. A case whose
    file is broken is told in `failed`, and the others are measured. Where all metrics are
    sums over voxels, volumes are read a slab at a time, with exactly the same values.

    Args:
      preds: A folder of volumes, one for each case; or a pattern with one `*`, which stands
        for the name of the case, such as `data/*/seg.nii.gz`.
      refs: A folder or a pattern of references.
      metrics: Of label maps `dice`, `hd`, `hd95` (any percentile), `asd`,
        `surface_dice`; of intensities `mae`, `mse`, `psnr`, `ssim`.
      labels: Which labels are measured; all but 0 unless given.
      masks: A folder or a pattern of masks: voxels that are 0 do not count, and are in no
        region.
      images: A folder or a pattern of volumes that a report shows below the labels.
      data_range: Width of the range of the values, for `psnr` and `ssim`; never guessed.
      ssim_window: `'3d'` for cubes, `'2d'` for squares in each slice.
      tolerance_mm: Largest distance that is close, for `surface_dice`.
      hd_pooling: As of `kd.volumes.metrics.hausdorff`.
      allow_missing: Whether references without a prediction are left out.
      error_maps: A folder to write `CASE.nii.gz` to: where the prediction is wrong.
      slab_planes: How many planes are read at a time.

    Raises:
      VolumeError: If files are missing or of different grids (all are named), or a metric
        is none.
    """
    options = measures.Options(
        data_range=data_range,
        ssim_window=ssim_window,
        tolerance_mm=tolerance_mm,
        hd_pooling=hd_pooling,
    )
    names = list(dict.fromkeys(metrics))
    measures.check_names(names, options)
    found = pairs.pair(
        preds, refs, masks=masks, images=images, allow_missing=allow_missing
    )
    pairs.check_grids(found)
    cases, failed = {}, {}
    for pair in found:
        try:
            cases[pair.case] = one_case.measure(
                pair, names, labels, options, slab_planes=slab_planes
            )
            if error_maps is not None:
                _write_error_map(pair, error_maps, names)
        except VolumeError as error:
            failed[pair.case] = f"{error}"
    if labels is not None and measures.is_of_regions(names[0]):
        _tell_absent(labels, cases, [p for p in found if p.case in cases])
    directions = {n: measures.make(n, (1,), options).direction for n in names}
    return Evaluation(
        cases=cases, directions=directions, failed=failed, pairs=tuple(found)
    )


def _tell_absent(
    labels: Sequence[int],
    cases: dict[str, dict[str, dict[str, float]]],
    measured: Sequence[pairs.Pair],
) -> None:
    """Tells which labels are in no file; files are read again only where that may be."""
    defined = {
        label
        for values in cases.values()
        for by_label in values.values()
        for label, value in by_label.items()
        if math.isfinite(value)
    }
    if not measured or all(str(label) in defined for label in labels):
        return
    there = sorted({x for pair in measured for x in one_case.labels_of(pair)})
    if absent := [label for label in labels if label and label not in there]:
        console.warn(
            f"No file has the label {', '.join(map(str, absent))}: it is not measured. "
            f"The files have the labels {', '.join(map(str, there)) or 'none but 0'}."
        )


def _write_error_map(pair: pairs.Pair, folder: Path, names: Sequence[str]) -> None:
    path = pathlib.Path(folder) / f"{pair.case}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    of_regions = measures.is_of_regions(names[0])
    volume_files.write(path, one_case.error_map(pair, of_regions=of_regions))


def _of(column: Sequence[float]) -> dict[str, Any]:
    values = np.array([x for x in column if math.isfinite(x)])
    counts = {"count": len(values), "num_undefined": len(column) - len(values)}
    if not len(values):
        return dict.fromkeys(_STATISTICS) | counts
    return dict(zip(_STATISTICS, _statistics(values), strict=True)) | counts


_STATISTICS = ("mean", "std", "min", "25pc", "median", "75pc", "max")


def _statistics(values: np.ndarray) -> Iterator[float]:
    yield float(math.fsum(values.tolist()) / len(values))
    yield float(values.std())
    yield from np.percentile(values, (0, 25, 50, 75, 100)).tolist()


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _told(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"
