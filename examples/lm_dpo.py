"""A chat model learns from preferences between two answers, by DPO.

    kauldron data fetch smollm2
    kauldron data fetch dialogs
    kauldron train --cfg=examples/lm_dpo.py --cfg.workdir=runs/dpo

The reference is the model itself without its low-rank updates: no second copy. What is
preferred is made up: answers as they are, to answers in capital letters. At the beginning
both have the same reward, `metrics/rewards/accuracy` of held-out pairs is 0.5; after 40
steps, 11 minutes of processor time, it is 1.0 (seed 42).
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import dialogs_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {"model": "smollm2", "length": 96, "batch_size": 4, "folder": None}

    cfg.train_ds = _make_ds(cfg, "train")
    cfg.eval_ds = _make_ds(cfg, "test")

    cfg.model = kd.lm.WithReference(
        policy=kd.lm.LoRA(
            model=dialogs_data.decoder(cfg.ref.aux.model), rank=4, alpha=8.0
        )
    )
    cfg.init_transform = dialogs_data.weights(cfg.ref.aux.model)

    cfg.num_train_steps = 40
    cfg.train_losses = {"dpo": kd.lm.DPO(beta=0.1)}
    cfg.train_metrics = {"rewards": kd.lm.PreferenceRewards(beta=0.1)}
    cfg.optimizer = kd.optim.named_chain(
        clip=optax.clip_by_global_norm(1.0), adam=optax.adam(1e-3)
    )

    cfg.evals = {
        "pairs": kd.evals.Evaluator(run=kd.evals.EveryNSteps(cfg.ref.num_train_steps))
    }
    cfg.log_metrics_every = 5
    return cfg


def _make_ds(cfg, split):
    return kd.data.py.DataSource(
        data_source=dialogs_data.Preferences(
            split=split,
            folder=cfg.ref.aux.folder,
            num_pairs=400 if split == "train" else 40,
        ),
        transforms=[
            kd.lm.PreferencePair(
                tokenizer=dialogs_data.tokenizer(cfg.ref.aux.model),
                length=cfg.ref.aux.length,
                too_long="keep_start",
            ),
        ],
        shuffle=split == "train",
        num_epochs=None if split == "train" else 1,
        batch_size=cfg.ref.aux.batch_size,
    )
