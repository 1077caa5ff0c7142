"""Fashion-MNIST: a small vision transformer, test accuracy 0.921 with seed 42.

27 minutes of processor time; a quarter of an hour on two cores.

kauldron data fetch fashion_mnist
kauldron train --cfg=configs/fashion_mnist_vit.py --cfg.workdir=runs/fashion_vit
"""

from kauldron import konfig

with konfig.imports():
    import pathlib

    import optax

    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42

    cfg.train_ds = _make_ds(training=True)
    cfg.eval_ds = _make_ds(training=False)

    # 16 tokens. Three convolutions make them, not a matrix of each patch: transformers as
    # small as this learn much faster behind them (Xiao et al. 2021, Early Convolutions
    # Help Transformers See Better, arXiv:2106.14881).
    cfg.model = kd.nn.Vit(
        image="batch.image",
        encoder=kd.nn.VitEncoder.from_variant_str(
            "mu",
            hidden_size=64,
            num_heads=2,
            mlp_size=128,
            num_layers=4,
            embedding=kd.nn.Sequential(
                layers=[
                    kd.nn.ConvBlock(features=32, norm="batch", activation="gelu"),
                    kd.nn.ConvBlock(
                        features=64, strides=2, norm="batch", activation="gelu"
                    ),
                    kd.nn.ConvBlock(
                        features=64, strides=2, norm="batch", activation="gelu"
                    ),
                    kd.nn.Rearrange(pattern="... h w c -> ... (h w) c"),
                ]
            ),
        ),
        num_classes=10,
    )

    cfg.num_train_steps = 11250  # 24 epochs
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.label"
        ),
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label"),
    }

    cfg.schedules = {
        "learning_rate": _cosine(8e-3, cfg.ref.num_train_steps),
        "adam_learning_rate": _cosine(3e-3, cfg.ref.num_train_steps),
    }
    # After the first epoch, AdamW is two percent behind.
    cfg.optimizer = kd.optim.muon(
        learning_rate=cfg.ref.schedules["learning_rate"],
        adam_learning_rate=cfg.ref.schedules["adam_learning_rate"],
        exclude=("classifier_head.**", "encoder.embedding.**"),
        matrices={
            "**.query.kernel": ((0,), (1, 2)),
            "**.key.kernel": ((0,), (1, 2)),
            "**.value.kernel": ((0,), (1, 2)),
            "**.out.kernel": ((0, 1), (2,)),
        },
        consistent_rms=0.2,
        weight_decay=0.05,
        adam_weight_decay=0.05,
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=1875)
    cfg.evals = {"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(1875))}
    cfg.log_metrics_every = 100
    return cfg


def _cosine(peak_value, num_steps):
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0, peak_value=peak_value, warmup_steps=300, decay_steps=num_steps
    )


def _make_ds(training: bool):
    split = "train" if training else "test"
    augmentations = [
        kd.data.py.RandomFlipLeftRight(key="image"),
        kd.contrib.data.py.PadImage(key="image", shape=(32, 32)),
        kd.data.py.RandomCrop(key="image", shape=(28, 28, 1)),
    ]
    return kd.data.py.NumpyArrays(
        path=pathlib.Path(kd.data.fetch("fashion_mnist"), f"{split}.npz"),
        shuffle=training,
        num_epochs=None if training else 1,
        batch_size=128 if training else 1000,
        transforms=[
            *(augmentations if training else []),
            # Every pixel of a patch of 2 x 2 becomes a channel: a quarter of the places.
            kd.data.Rearrange(
                key="image",
                pattern="(h p) (w q) c -> h w (p q c)",
                axes_lengths={"p": 2, "q": 2},
            ),
            kd.data.ValueRange(key="image", in_vrange=(0, 255), vrange=(0, 1)),
            kd.data.Cast(key="label", dtype="int32"),
            kd.data.Rearrange(key="label", pattern="... -> ... 1"),
        ],
    )
