"""A full recipe for a transformer: augmented pictures, mixed labels, regularisation.

    kauldron train --cfg=examples/digits_recipe.py --cfg.workdir=runs/recipe

For photographs there would also be `kd.data.RandomFlipLeftRight`; a digit in the mirror is
no digit.
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import digits_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42

    cfg.train_ds = _make_ds(
        training=True,
        augmentations=[
            kd.data.InceptionCrop(
                key="image",
                resize_size=8,
                area_range=(0.6, 1.0),
                aspect_range=(0.8, 1.25),
            ),
            kd.data.RandAugment(key="image", num_layers=1, magnitude=4.0, fill=0),
        ],
        of_batches=[
            kd.data.MixUp(image_key="image", label_key="probs", alpha=0.1),
        ],
    )
    cfg.eval_ds = _make_ds(training=False)

    cfg.model = kd.nn.Vit(
        image="batch.image",
        encoder=kd.nn.VitEncoder.from_variant_str(
            "mu/2",
            hidden_size=48,
            num_heads=4,
            mlp_size=96,
            num_layers=3,
            block_type=kd.nn.ParallelAttentionBlock,
            prepend_cls_token=True,
        ),
        mode="cls_token",
        num_classes=10,
    )

    cfg.num_train_steps = 3000
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropy(
            logits="preds.logits", labels="batch.probs"
        ),
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label"),
    }

    cfg.schedules = {
        "learning_rate": optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=2e-3,
            warmup_steps=cfg.ref.num_train_steps // 10,
            decay_steps=cfg.ref.num_train_steps,
        ),
    }
    cfg.optimizer = kd.optim.named_chain(
        clip=optax.clip_by_global_norm(1.0),
        adamw=optax.adamw(
            learning_rate=cfg.ref.schedules["learning_rate"], weight_decay=0.05
        ),
        ema=kd.optim.ema_params(decay=0.995),
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=1000)
    cfg.evals = {
        "eval": kd.evals.Evaluator(
            run=kd.evals.EveryNSteps(500),
            init_transform=kd.optim.UseEmaParams(),
        ),
    }
    return cfg


def _make_ds(training: bool, augmentations=(), of_batches=()):
    return kd.data.py.DataSource(
        data_source=digits_data.Digits(split="train" if training else "test"),
        shuffle=training,
        num_epochs=None if training else 1,
        batch_size=64,
        transforms=[
            # Bytes, as in files of pictures.
            kd.data.ValueRange(
                key="image", in_vrange=(0, 16), vrange=(0, 255), dtype="uint8"
            ),
            *augmentations,
            kd.data.ValueRange(key="image", in_vrange=(0, 255), vrange=(-1, 1)),
            kd.data.Elements(keep=["image", "label"], copy={"label": "probs"}),
            kd.data.OneHot(key="probs", num_classes=10),
            kd.data.Cast(key="label", dtype="int32"),
            kd.data.Rearrange(key="label", pattern="... -> ... 1"),
            *of_batches,
        ],
    )
