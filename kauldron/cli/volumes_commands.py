"""The commands of volumes, of the command table."""

from __future__ import annotations

from kauldron.cli.command_kinds import Command, Flag

ALL = (
    Command(
        "volumes info",
        "volumes:info",
        "shape, spacing and placement of a volume file",
        "kauldron volumes info ct.nii.gz --json",
        flags=(Flag("json", bool, False, "Print JSON."),),
        positional=("FILE",),
        takes_cfg=False,
    ),
    Command(
        "volumes convert",
        "volumes:convert",
        "write a volume in another format, values and places unchanged",
        "kauldron volumes convert dicom_folder ct.nii.gz",
        flags=(Flag("overwrite", bool, False, "Replace what OUT is."),),
        positional=("IN", "OUT"),
        takes_cfg=False,
    ),
    Command(
        "volumes evaluate",
        "volumes_evaluate:main",
        "compare volumes with references, case by case; exit code 1 if one is broken",
        "kauldron volumes evaluate --preds=runs/seg_out --refs=DIR "
        "--metrics=dice,hd95,asd --out=metrics.json",
        flags=(
            Flag("preds", str, None, "A folder, or a pattern with a *.", "required"),
            Flag(
                "refs",
                str,
                None,
                "A folder, or a pattern such as 'data/*/seg.nii.gz'.",
                "required",
            ),
            Flag(
                "metrics",
                list,
                ["dice", "hd95", "asd"],
                "dice, hd95, hd, asd, surface_dice; mae, mse, psnr, ssim.",
                "dice,hd95,asd",
            ),
            Flag("labels", list, None, "Labels that are measured.", "all but 0"),
            Flag("masks", str, None, "Where voxels count; folder or pattern.", "all"),
            Flag("images", str, None, "Shown by a report below the labels.", "none"),
            Flag("out", str, None, "A JSON file to write.", "none"),
            Flag("report", str, None, "An HTML page to write, with pictures.", "none"),
            Flag("error_maps", str, None, "A folder for maps of the errors.", "none"),
            Flag("allow_missing", bool, False, "Leave out what was not predicted."),
            Flag(
                "data_range", float, None, "Of the values, for psnr, ssim.", "none", 0
            ),
            Flag("ssim_window", str, "3d", "3d for cubes, 2d for slices."),
            Flag("tolerance_mm", float, 1.0, "For surface_dice.", lower_bound=0),
            Flag("hd_pooling", str, "directed_max", "directed_max, or pooled."),
            Flag("planes", int, None, "Read at a time, if possible.", "8M voxels", 1),
        ),
        takes_cfg=False,
    ),
)
