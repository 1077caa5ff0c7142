"""`kauldron volumes evaluate`: predictions against references, file by file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron.cli import _flags, command_runner


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron volumes evaluate --preds=DIR --refs=DIR --metrics=dice,hd95,asd`."""

    def work(command: _flags.CommandLine) -> None:
        preds = command.required("preds", "runs/seg_out")
        refs = command.required("refs", "'data/*/seg.nii.gz'")
        from kauldron import volumes

        names = ("metrics", "masks", "images", "data_range", "ssim_window")
        names += ("tolerance_mm", "hd_pooling", "allow_missing", "error_maps")
        options = {name: command[name] for name in names}
        labels = _to_labels(command["labels"])
        found = volumes.evaluate(
            preds, refs, labels=labels, slab_planes=command["planes"], **options
        )
        print(found)
        if command["out"]:
            found.write(command["out"])
            print(f"The values are in {command['out']}.")
        if command["report"]:
            volumes.write_report(
                found, command["report"], title=f"{preds} against {refs}"
            )
            print(f"The page is {command['report']}.")
        if found.failed:
            lines = [f"{case}: {message}" for case, message in found.failed.items()]
            raise command_runner.CommandFailed(
                "\n  ".join(
                    [f"Cases that could not be measured ({len(lines)}):", *lines]
                )
            )

    return _flags.run("volumes evaluate", work, argv, flag_values)


def _to_labels(texts: Sequence[str] | None) -> Any:
    if texts is None:
        return None
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise _flags.UsageError(
            f"`--labels` are integers, such as --labels=1,2,3: got {','.join(texts)!r}."
        ) from None
