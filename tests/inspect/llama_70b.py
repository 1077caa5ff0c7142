"""A config of LLaMA-3-70B on 4096 devices, for estimates: its data are zeros."""

from kauldron import konfig

with konfig.imports():
    import optax

    from kauldron import kd
    from tests.inspect import zero_rows


def get_config():
    cfg = kd.train.Trainer()
    cfg.train_ds = kd.data.py.DataSource(
        data_source=zero_rows.ZeroRows(length=8192),
        batch_size=512,
        shuffle=False,
    )
    cfg.model = kd.nn.decoder(
        "llama",
        tokens="batch.tokens",
        vocab_size=128_256,
        features=8192,
        num_layers=80,
        num_heads=64,
        num_kv_heads=8,
        hidden_features=28_672,
        scan_layers=True,
        remat=True,
        dtype="bfloat16",
    )
    cfg.num_train_steps = 1
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.targets"
        ),
    }
    cfg.optimizer = optax.adamw(1e-4)
    cfg.sharding = "fsdp,tensor=8"
    return cfg
