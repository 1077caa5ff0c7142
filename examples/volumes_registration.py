"""Pieces of a brain brought back from a deformation that is known.

    kauldron data fetch mni
    kauldron train --cfg=examples/volumes_registration.py --cfg.workdir=runs/warp

A network sees two images and gives a velocity on a grid of 4 mm; followed for a unit of
time, it moves one image onto the other. It is fitted to this pair alone, by what the images
look like: points are there to measure `metrics/tre_mm`, how far they end up from where they
should be: 0.41, after a minute of processor time. `metrics/tre_before_mm` is how far they
were: 6.1. With `--cfg.aux.num_pairs=400` and
another split for `eval_ds`, it would have to learn to register pairs it has not seen.
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import volumes_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"folder": None, "size": (64, 48, 64), "num_pairs": 1, "batch_size": 1}

    cfg.train_ds = _make_ds(cfg, is_train=True)
    cfg.eval_ds = _make_ds(cfg, is_train=False)

    cfg.model = kd.nn.Registration(
        network=kd.nn.UNet(
            num_classes=8,
            features=(16, 32, 64),
            kernel_size=(3, 3, 3),
            encoder_blocks=1,
            decoder_blocks=1,
            norm=None,
        ),
        strides=4,
        moving="batch.moving",
        fixed="batch.fixed",
        points="batch.points",
    )

    cfg.num_train_steps = 400
    cfg.train_losses = {
        "difference": kd.losses.L2(
            preds="preds.warped", targets="batch.fixed", weight=100.0
        ),
        "roughness": kd.volumes.losses.GradientSmoothness(
            field="preds.velocity", weight=0.05
        ),
    }
    cfg.train_metrics = {
        "tre_mm": kd.volumes.metrics.Tre(
            preds="preds.points", targets="batch.moved_points"
        ),
    }

    cfg.schedules = {
        "learning_rate": optax.cosine_decay_schedule(
            init_value=1e-2, decay_steps=cfg.ref.num_train_steps
        ),
    }
    cfg.optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(cfg.ref.schedules["learning_rate"]),
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=200)
    cfg.evals = {
        "eval": kd.evals.Evaluator(
            run=kd.evals.EveryNSteps(200),
            metrics={
                **cfg.train_metrics,
                "tre_before_mm": kd.volumes.metrics.Tre(
                    preds="batch.points", targets="batch.moved_points"
                ),
            },
        ),
    }
    cfg.log_metrics_every = 50
    return cfg


def _make_ds(cfg, *, is_train):
    return kd.data.py.DataSource(
        data_source=volumes_data.WarpedPairs(
            split="test",
            num_pairs=cfg.ref.aux.num_pairs,
            size=cfg.ref.aux.size,
            folder=cfg.ref.aux.folder,
        ),
        shuffle=is_train,
        num_epochs=None if is_train else 1,
        batch_size=cfg.ref.aux.batch_size,
    )
