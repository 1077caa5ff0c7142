"""116 regions of a brain, found with those of its mirror image as an atlas.

    kauldron data fetch ch2
    kauldron train --cfg=examples/volumes_atlas.py --cfg.workdir=runs/atlas

People are not symmetrical: where a region of the left half of this brain would lie on the
right, another one does in a third of the voxels (`metrics/dice_before`, 0.67). The mirror
image is brought onto the brain by what both look like, and carries its regions along:
`metrics/dice`, the mean over 116 regions, is 0.71 after 2 minutes of processor time. What
remains are folds that one half has and the other has not. No region is seen in training.

It works on voxels of 2 mm; the velocity has a grid of 4 mm. The regions that are drawn in
the summary `regions` are those that were carried; contours are the true ones.
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import volumes_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    # The brain fills this box in the middle of the volume.
    cfg.aux = {"folder": None, "shape": (80, 96, 80), "spacing_mm": 2.0}

    # There is one pair: several devices would have nothing to share.
    cfg.sharding = kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED)

    cfg.train_ds = _make_ds(cfg)
    cfg.eval_ds = _make_ds(cfg, num_epochs=1)

    cfg.model = kd.nn.Graph(
        nodes={
            "registration": kd.nn.Node(
                kd.nn.Registration(
                    network=kd.nn.UNet(
                        num_classes=8,
                        features=(8, 16, 32),
                        kernel_size=(3, 3, 3),
                        encoder_blocks=1,
                        decoder_blocks=1,
                        norm=None,
                    ),
                    strides=2,
                ),
                inputs=["batch.mirror_t1", "batch.t1"],
            ),
            "regions": kd.nn.Node(
                volumes_data.carried,
                inputs=["batch.mirror_regions", "registration.field"],
            ),
        },
        outputs={
            "warped": "registration.warped",
            "velocity": "registration.velocity",
            "regions": "regions",
        },
    )

    cfg.num_train_steps = 120
    cfg.train_losses = {
        "difference": kd.losses.L2(
            preds="preds.warped", targets="batch.t1", weight=100.0
        ),
        "roughness": kd.volumes.losses.GradientSmoothness(
            field="preds.velocity", weight=0.2
        ),
    }
    cfg.schedules = {
        "learning_rate": optax.cosine_decay_schedule(
            init_value=5e-3, decay_steps=cfg.ref.num_train_steps
        ),
    }
    cfg.optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(cfg.ref.schedules["learning_rate"]),
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=60)
    cfg.evals = {
        "eval": kd.evals.Evaluator(
            run=kd.evals.EveryNSteps(60),
            metrics={
                "dice": _dice("preds.regions"),
                "dice_before": _dice("batch.mirror_regions"),
            },
            summaries={
                "regions": kd.volumes.ShowVolumes(
                    images="batch.t1",
                    labels="batch.regions",
                    pred_labels="preds.regions",
                    geometry="batch.t1_geometry",
                ),
            },
        ),
    }
    cfg.log_metrics_every = 20
    return cfg


def _dice(pred_labels):
    return kd.metrics.Dice(
        pred_labels=pred_labels,
        labels="batch.regions",
        num_classes=117,
        ignored_label=0,
    )


def _make_ds(cfg, **kwargs):
    return kd.volumes.VolumeCases(
        volumes_data.Mirrored(cfg.ref.aux.folder),
        groups={
            "t1": _group(cfg, "t1"),
            "mirror_t1": _group(cfg, "mirror_t1"),
            "regions": _group(cfg, "regions", is_label=True, num_labels=117),
            "mirror_regions": _group(
                cfg, "mirror_regions", is_label=True, num_labels=117
            ),
        },
        batch_size=1,
        **kwargs,
    )


def _group(cfg, name, **kwargs):
    tf = kd.volumes.transforms
    transforms = [
        tf.Resample(spacing_mm=cfg.ref.aux.spacing_mm, anti_alias=True),
        tf.Pad(min_shape=cfg.ref.aux.shape),
        tf.Crop(size=cfg.ref.aux.shape),
    ]
    if not kwargs:
        transforms.append(tf.Normalize(low=0.0, high=133.0))
    return kd.volumes.Group(f"{name}.nii.gz", transforms=transforms, **kwargs)
