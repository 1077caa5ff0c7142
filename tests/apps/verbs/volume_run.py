"""The run on small volumes, with an evaluator that augments."""

from __future__ import annotations

from kauldron import konfig
from tests.volumes.prediction import volumes_run

with konfig.imports():
    from kauldron import kd


def get_config(root, workdir):
    cfg = volumes_run.get_config(root, workdir)
    flip = kd.volumes.augment.Flip(axes=(2,))
    cfg.evals.final.augment = kd.volumes.augment.Augment([flip], copies=2)
    return cfg
