"""Files that describe a run to other programs, written when it starts."""

from __future__ import annotations

import json

import jax
from etils import epath

from kauldron.train import _run_description

CONFIG_FILE = "config.json"
ELEMENT_SPEC_FILE = "element_spec.json"


def write(trainer: _run_description.RunDescription) -> None:
    """Writes the config and the element spec."""
    if trainer.raw_cfg is not None:
        write_atomically(
            trainer.workdir / CONFIG_FILE, trainer.raw_cfg.to_json(indent=2)
        )
    spec = jax.tree.map(
        lambda x: {"shape": list(x.shape), "dtype": str(x.dtype)},
        trainer.train_ds.element_spec,
    )
    write_atomically(trainer.workdir / ELEMENT_SPEC_FILE, json.dumps(spec, indent=2))


def write_atomically(path: epath.Path, text: str) -> None:
    """Writes a file so that a reader sees the old or the new text, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
