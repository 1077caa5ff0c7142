"""The map of grey matter from an MR image, by a generator against a critic.

    kauldron data fetch mni
    kauldron train --cfg=examples/volumes_synthesis.py --cfg.workdir=runs/grey

The generator is 2.5-D: it sees a slice and its two neighbours, and makes one slice. The
critic sees patches of the slice beside what was made of it, or beside the true map. The
`metrics/psnr` of two slabs it has not seen, 16 mm in front of those it learns from, is to
be held against `metrics/psnr_by_intensity`: the mean grey matter of voxels of the same
intensity in the slabs to learn from.
"""

from kauldron import konfig

with konfig.imports():
    import functools

    import jax
    import jax.numpy as jnp
    import optax

    from examples import digits_gan_model, volumes_data
    from kauldron import kd

# Groups have their neighbours beside them: this is the slice itself.
_GREY = "batch.grey[..., 1:2]"


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"folder": None, "patch_size": 48, "batch_size": 12}

    size = (1, cfg.ref.aux.patch_size, cfg.ref.aux.patch_size)
    cfg.train_ds = _make_ds(
        cfg,
        select="train_*",
        patches=kd.volumes.RandomPatch(
            size=size, context_slices=2, foreground_prob=1.0, by="tissue"
        ),
        patches_per_case=600,
        augment=kd.volumes.augment.Augment([kd.volumes.augment.Flip(axes=(2,))]),
    )
    cfg.eval_ds = _make_ds(
        cfg,
        select="test_*",
        patches=kd.volumes.PatchGrid(size=size, context_slices=2, border="pad"),
        shuffle=False,
        num_epochs=1,
    )

    pair = functools.partial(jnp.concatenate, axis=-1)
    cfg.model = kd.nn.Graph(
        nodes={
            "generator": kd.nn.Node(
                kd.nn.UNet(
                    num_classes=1,
                    features=(16, 32, 64),
                    encoder_blocks=1,
                    decoder_blocks=1,
                    norm=None,
                ),
                inputs="batch.t1",
            ),
            "grey": kd.nn.Node(jax.nn.sigmoid, inputs="generator.logits"),
            "true_pair": kd.nn.Node(pair, inputs=[["batch.t1", _GREY]], when="train"),
            "made_pair": kd.nn.Node(pair, inputs=[["batch.t1", "grey"]], when="train"),
            "true": kd.nn.Node("critic", inputs="true_pair", when="train"),
            "made": kd.nn.Node("critic", inputs="made_pair", when="train"),
        },
        shared={
            "critic": kd.nn.PatchDiscriminator(features=8, num_layers=2, norm="layer")
        },
        outputs={"grey": "grey", "true": "true", "made": "made"},
    )

    cfg.num_train_steps = 400
    cfg.train_losses = {
        "true": digits_gan_model.Hinge(logits="preds.true.logits", is_real=True),
        "made": digits_gan_model.Hinge(logits="preds.made.logits", is_real=False),
        "grey": kd.losses.L2(preds="preds.grey", targets=_GREY, weight=100.0),
        "fooled": kd.losses.Value(values="preds.made.logits", weight=-0.05),
    }
    cfg.train_metrics = {"psnr": _psnr("preds.grey")}

    cfg.schedules = {
        "learning_rate": optax.cosine_decay_schedule(
            init_value=3e-3, decay_steps=cfg.ref.num_train_steps
        ),
    }
    cfg.optimizer = None  # each group has its own
    cfg.trainstep = kd.train.LossGroupsStep(
        groups={
            "critic": kd.train.LossGroup(
                losses=["true", "made"],
                params="critic",
                optimizer=optax.adam(learning_rate=1e-3, b1=0.5),
            ),
            "generator": kd.train.LossGroup(
                losses=["grey", "fooled"],
                params="generator",
                optimizer=optax.chain(
                    optax.clip_by_global_norm(1.0),
                    optax.adam(cfg.ref.schedules["learning_rate"]),
                ),
            ),
        },
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=200)
    cfg.evals = {
        "eval": kd.evals.Evaluator(
            run=kd.evals.EveryNSteps(200),
            losses={},
            metrics={
                **cfg.train_metrics,
                "psnr_by_intensity": _psnr("batch.grey_by_intensity[..., 1:2]"),
            },
        ),
    }
    cfg.log_metrics_every = 20
    return cfg


def _psnr(preds):
    return kd.volumes.metrics.Psnr(
        preds=preds, targets=_GREY, region_mask="batch.tissue", data_range=1.0
    )


def _make_ds(cfg, **kwargs):
    share = kd.volumes.transforms.Normalize(low=0.0, high=255.0)
    return kd.volumes.VolumeCases(
        volumes_data.Slabs(cfg.ref.aux.folder),
        groups={
            "t1": kd.volumes.Group(
                "t1.nii.gz",
                transforms=[kd.volumes.transforms.Normalize(low=0.0, high=128.0)],
            ),
            "grey": kd.volumes.Group("grey.nii.gz", transforms=[share], kind="map"),
            "grey_by_intensity": kd.volumes.Group(
                "grey_by_intensity.nii.gz", transforms=[share], kind="map"
            ),
            "tissue": kd.volumes.Group("tissue.nii.gz", is_label=True, num_labels=4),
        },
        batch_size=cfg.ref.aux.batch_size,
        **kwargs,
    )
