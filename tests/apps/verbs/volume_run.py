"""The run on small volumes, with an evaluator that augments, and counts inside of masks."""

from __future__ import annotations

from kauldron import konfig
from tests.volumes.prediction import volumes_run

with konfig.imports():
    from kauldron import kd


def get_config(root, workdir):
    cfg = volumes_run.get_config(root, workdir)
    flip = kd.volumes.augment.Flip(axes=(2,))
    cfg.evals.final.augment = kd.volumes.augment.Augment([flip], copies=2)
    # The cases of the run have no mask: all of their voxels count.
    cfg.eval_ds.groups["region"] = kd.volumes.Group(
        "region.mha",
        transforms=[kd.volumes.transforms.Reorient()],
        is_label=True,
        optional=True,
        default=1,
    )
    cfg.evals.final.metrics = {
        "dice": kd.volumes.metrics.Dice(
            logits="preds.logits",
            labels="batch.seg",
            region_mask="batch.region",
            classes=(1,),
        )
    }
    return cfg
