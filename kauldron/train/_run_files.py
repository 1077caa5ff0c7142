"""Files that describe a run to other programs, written when it starts."""

from __future__ import annotations

import json

import jax

from kauldron import konfig
from kauldron.train import _files, _run_description, workdirs
from kauldron.utils import status_utils


def write(trainer: _run_description.RunDescription) -> None:
    """Writes the config, its record with all defaults, and the element spec."""
    if trainer.raw_cfg is not None:
        _tell_changes(trainer)
        json_text = trainer.raw_cfg.to_json(indent=2)
        _files.write_atomically(trainer.workdir / workdirs.CONFIG_FILE, json_text)
        python_text = konfig.to_python(trainer.raw_cfg)
        _files.write_atomically(trainer.workdir / workdirs.PYTHON_FILE, python_text)
        record = json.dumps(konfig.record(trainer.raw_cfg), indent=2)
        _files.write_atomically(trainer.workdir / workdirs.RECORD_FILE, record)
    spec = jax.tree.map(
        lambda x: {"shape": list(x.shape), "dtype": str(x.dtype)},
        trainer.train_ds.element_spec,
    )
    _files.write_atomically(
        trainer.workdir / workdirs.ELEMENT_SPEC_FILE, json.dumps(spec, indent=2)
    )


def _tell_changes(trainer: _run_description.RunDescription) -> None:
    """Prints what a run that continues changes in its config."""
    path = trainer.workdir / workdirs.CONFIG_FILE
    if not path.exists():
        return
    difference = konfig.diff(path, trainer.raw_cfg)
    if difference:
        status_utils.log(
            f"The config of {trainer.workdir} has changed:\n{difference}\n"
            "Lengths, intervals, evaluators and schedules may change. Data, model and "
            "optimizer should not: the checkpoint has the state of the old ones."
        )
