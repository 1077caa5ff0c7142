"""`kauldron data <verb>`: looks at the data of a config."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from kauldron import konfig, kontext
from kauldron.cli import _flags, _run


def element_spec(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron data element_spec [--ds_path=train_ds]`: dtype and shape of a batch."""

    def work() -> None:
        command = _flags.CommandLine(argv, flag_values, define=_define_ds_path)
        cfg = command.cfg
        # The pipelines alone: a dataset can be looked at before there is a model.
        ds = konfig.resolve(kontext.get_by_path(cfg, command["ds_path"]))
        print(command.origin)
        for path, spec in kontext.flatten_with_path(ds.element_spec).items():
            print(f"{path}: {kontext.format_spec(spec)}")

    return _run.run(work, argv=argv)


def _define_ds_path(flag_values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "ds_path",
        "train_ds",
        "Where in the config the dataset stands.",
        flag_values=flag_values,
        allow_override=True,
    )
