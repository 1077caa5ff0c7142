"""A U-Net that takes noise away from photographs.

    kauldron train --cfg=configs/photos_unet.py --cfg.workdir=runs/photos_unet

Three minutes of processor time. The photographs ship with scikit-image, in grey; the noise
has a standard deviation of 0.1, black to white being 1. With seed 42, three photographs
that training has not seen go from 20.0 to 29.4 dB. Total variation brings them to 28.6,
non-local means to 29.2, of the strength that is best for these very photographs
(`skimage.restoration`); on one of the three, the coffee, non-local means remains better.
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import photos_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"batch_size": 8}

    cfg.train_ds = kd.data.py.DataSource(
        data_source=photos_data.NoisyPhotos(split="train", num_pieces=12_000),
        shuffle=True,
        batch_size=cfg.ref.aux.batch_size,
    )
    cfg.eval_ds = kd.data.py.DataSource(
        data_source=photos_data.NoisyPhotos(split="test", num_pieces=96),
        shuffle=False,
        num_epochs=1,
        batch_size=cfg.ref.aux.batch_size,
    )

    # What is predicted is the noise. No norm: that would take its size away.
    cfg.model = kd.nn.UNet(
        image="batch.image",
        num_classes=1,
        features=(16, 32, 64),
        encoder_blocks=(2, 1, 1),
        decoder_blocks=(2, 1),
        norm=None,
        activation="relu",
    )

    cfg.num_train_steps = 1500
    cfg.train_losses = {
        "noise": kd.losses.L2(preds="preds.logits", targets="batch.noise"),
    }
    # The error of the noise is that of the photograph that is left.
    cfg.train_metrics = {
        "psnr": kd.metrics.Psnr(pred="preds.logits", target="batch.noise"),
    }

    cfg.schedules = {
        "learning_rate": optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=2e-3,
            warmup_steps=50,
            decay_steps=cfg.ref.num_train_steps,
        ),
    }
    cfg.optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(cfg.ref.schedules["learning_rate"]),
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=500)
    cfg.evals = {"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(500))}
    cfg.log_metrics_every = 50
    return cfg
