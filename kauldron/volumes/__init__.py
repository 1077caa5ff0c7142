"""`kd.volumes`: patch-based work on 3-D images, exact to the voxel and the millimetre.

Arrays are `[z y x c]`; what belongs to an array (shape, spacing, region, patch) is in this
order. Points of the world are `(x, y, z)` in LPS millimetres. `Geometry` leads from one to
the other.

Sub-rooms, each imported when a name of it is used: `geometry`, `files` (formats),
`transforms` (with inverses), `augment`, `patches` (grids, sliding windows), `losses`,
`metrics`, `cases` (datasets), `pictures`, `evaluation` (file against file), `prediction`.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.volumes"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # geometry
        **_names("geometry.base", "Geometry Image Region"),
        **_names("geometry.errors", "VolumeError"),
        # files
        **_names("files.base", "Format Info RegionWriter"),
        **_names("files.volume_files", "convert info open_region_writer read write"),
        **_names("files.formats", "format_of"),
        # transforms: kd.volumes.transforms
        "transforms": f"{_ROOM}.transforms",
        # augment: kd.volumes.augment
        "augment": f"{_ROOM}.augment",
        # patches
        **_names("patches.grids", "PatchGrid RandomPatch"),
        **_names("patches.patch_sizes", "choose_patch_size"),
        **_names("patches.sliding_windows", "SlidingWindow sliding_window"),
        # losses: kd.volumes.losses
        "losses": f"{_ROOM}.losses",
        # metrics: kd.volumes.metrics
        "metrics": f"{_ROOM}.metrics",
        # cases
        **_names("cases.dataset", "VolumeCases"),
        **_names("cases.groups", "Group"),
        **_names("cases.selection", "Split"),
        **_names("cases.checks", "BadCasesError"),
        # pictures
        **_names("pictures.views", "Views patch_map views"),
        **_names("pictures.summary", "ShowVolumes"),
        # evaluation
        **_names("evaluation.file_evaluation", "Evaluation evaluate"),
        **_names("evaluation.report", "write_report"),
        # prediction
        **_names("prediction.case_evaluator", "CaseEvaluator"),
        **_names("prediction.outputs", "Output"),
    },
)
