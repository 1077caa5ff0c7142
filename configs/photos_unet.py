"""A U-Net that takes noise away from photographs.

kauldron train --cfg=configs/photos_unet.py --cfg.workdir=runs/photos_unet
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import photos_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42

    cfg.train_ds = _make_ds(training=True)
    cfg.eval_ds = _make_ds(training=False)

    # What is predicted is the noise. No norm: that would take its size away.
    cfg.model = kd.nn.UNet(
        image="batch.image",
        num_classes=4,
        features=(32, 64, 128),
        encoder_blocks=2,
        decoder_blocks=2,
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


def _make_ds(training: bool):
    return kd.data.py.DataSource(
        data_source=photos_data.NoisyPhotos(
            split="train" if training else "test",
            num_pieces=12_000 if training else 96,
        ),
        shuffle=training,
        num_epochs=None if training else 1,
        batch_size=8,
        transforms=[
            # Every pixel of a patch of 2 x 2 becomes a channel: a quarter of the places.
            kd.data.Rearrange(
                key=["image", "noise"],
                pattern="(h p) (w q) 1 -> h w (p q)",
                axes_lengths={"p": 2, "q": 2},
            ),
        ],
    )
