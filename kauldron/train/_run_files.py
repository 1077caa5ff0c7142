"""Files describing a run to other programs, written when it starts."""

from __future__ import annotations

import json
from typing import Any

import jax

from kauldron import data, konfig
from kauldron._base import console, shared_files
from kauldron.train import _run_description
from kauldron.workdir import data_records, signatures, workdirs


def write(trainer: _run_description.RunDescription) -> None:
    """Writes the config, its record with all defaults, the element spec, the data."""
    if trainer.raw_cfg is not None:
        _tell_changes(trainer)
        json_text = trainer.raw_cfg.to_json(indent=2)
        shared_files.write_atomically(trainer.workdir / workdirs.CONFIG_FILE, json_text)
        signatures.sign(trainer.workdir / workdirs.CONFIG_FILE)
        python_text = konfig.to_python(trainer.raw_cfg)
        shared_files.write_atomically(
            trainer.workdir / workdirs.PYTHON_FILE, python_text
        )
        record = json.dumps(konfig.record(trainer.raw_cfg), indent=2)
        shared_files.write_atomically(trainer.workdir / workdirs.RECORD_FILE, record)
    spec = jax.tree.map(
        lambda x: {"shape": list(x.shape), "dtype": str(x.dtype)},
        trainer.train_ds.element_spec,
    )
    shared_files.write_atomically(
        trainer.workdir / workdirs.ELEMENT_SPEC_FILE, json.dumps(spec, indent=2)
    )
    datasets: list[Any] = [trainer.train_ds]
    datasets += [getattr(e, "ds", None) for e in trainer.evals.values()]
    records = [
        record
        for ds in datasets
        if isinstance(ds, data.IterableDataset)
        for record in ds.run_records()
    ]
    data_records.write(trainer.workdir, records)


def describe_changes(trainer: _run_description.RunDescription) -> str | None:
    """Returns how a resumed run's config has changed; `None` if it has not.

    Raises:
      ConfigError: If the config in the workdir is damaged.
    """
    path = trainer.workdir / workdirs.CONFIG_FILE
    if trainer.raw_cfg is None or not path.exists():
        return None
    difference = konfig.diff(path, trainer.raw_cfg)
    if not difference:
        return None
    return f"The config of {trainer.workdir} has changed:\n{difference}"


def _tell_changes(trainer: _run_description.RunDescription) -> None:
    try:
        changes = describe_changes(trainer)
    except konfig.ConfigError as e:
        aside = shared_files.move_aside(trainer.workdir / workdirs.CONFIG_FILE)
        console.warn(
            f"The config that the run began with is damaged: {e}\nIt is now {aside.name!r}, "
            "the run continues with the config given; what has changed is not known."
        )
        return
    if changes:
        console.log(
            f"{changes}\nLengths, intervals, evaluators and schedules may change. Data, model and "
            "optimizer should not: the checkpoint has the state of the old ones."
        )
