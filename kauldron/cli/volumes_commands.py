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
)
