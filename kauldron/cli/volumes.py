"""`kauldron volumes <verb>`: files of 3-D images."""

from __future__ import annotations

import json
from collections.abc import Sequence

from absl import flags

from kauldron.cli import _flags


def info(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron volumes info FILE [--json]`: what the header of a file says."""

    def work(command: _flags.CommandLine) -> None:
        if not command.positional:
            raise _flags.UsageError(
                "Say which file: `kauldron volumes info ct.nii.gz`, or a folder of DICOM."
            )
        from kauldron import volumes

        found = volumes.info(command.positional[0])
        print(json.dumps(found.as_dict()) if command["json"] else found)

    return _flags.run("volumes info", work, argv, flag_values)


def convert(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron volumes convert IN OUT`: the same volume in another format."""

    def work(command: _flags.CommandLine) -> None:
        if len(command.positional) != 2:
            raise _flags.UsageError(
                "Say what and where to: `kauldron volumes convert dicom_folder ct.nii.gz`."
            )
        from kauldron import volumes

        source, target = command.positional
        print(volumes.convert(source, target, overwrite=command["overwrite"]))

    return _flags.run("volumes convert", work, argv, flag_values)
