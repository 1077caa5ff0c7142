"""Apps for tests that are made of a description and a few bytes: nothing computes."""

from __future__ import annotations

import pathlib

from kauldron.apps.bundles import manifest as manifest_lib
from kauldron.apps.bundles.ports import Label, Port


def manifest(**changes):
    values = {
        "name": "tissues",
        "description": "Tissues of the brain.",
        "inputs": (
            Port(name="t1", kind="volume"),
            Port(name="t2", kind="volume", required=False, default="zeros"),
        ),
        "references": (Port(name="tissue", kind="segmentation"),),
        "outputs": (
            Port(
                name="tissue",
                kind="segmentation",
                labels={
                    1: Label(name="grey", colour="#777777"),
                    2: Label(name="white"),
                },
            ),
        ),
        "members": ("fold_0", "fold_1", "fold_2"),
        "max_tta": 2,
        "max_mc": 8,
        "takes_masks": True,
        "allowed_overrides": ("evals.eval.window.*",),
        "data_paths": ("train_ds.path",),
        "verbs": manifest_lib.VERBS,
        "step": 600,
    }
    return manifest_lib.Manifest(**{**values, **changes})


def write(folder: pathlib.Path, **changes):
    """Writes an app that can be read and cannot compute."""
    (folder / "members").mkdir(parents=True)
    (folder / "config.json").write_text("{}\n")
    (folder / "members" / "fold_0.safetensors").write_bytes(bytes(range(256)) * 40)
    return manifest_lib.write_manifest(folder, manifest(**changes))
