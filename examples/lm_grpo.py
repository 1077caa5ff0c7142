"""SmolLM2 learns by trying: to answer a sum with an equation and nothing else, by GRPO.

    kauldron data fetch smollm2
    kauldron train --cfg=examples/lm_grpo.py --cfg.workdir=runs/grpo

Nobody shows it an answer: each of four prompts is answered eight times, and what had a
greater reward than the other seven becomes likelier. The policy is the model with low-rank
updates of its upper half. `metrics/reward/format` of the evaluator is the share of answers
to prompts that are not in the training which have the right form: 0.06 at first, and 1.0
after 20 steps, 10 minutes of processor time (seed 42). That the sums are right is not asked.
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import dialogs_data, sums_data
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42
    cfg.aux = {
        "model": "smollm2",
        "length": 58,
        "max_tokens": 14,
        "batch_size": 32,
        # The upper half: gradients need not go further down.
        "targets": [f"layer_{i}.**.kernel" for i in range(15, 30)],
    }

    cfg.train_ds = kd.rl.RolloutPipeline(
        prompts=sums_data.questions("train"),
        tokenizer=dialogs_data.tokenizer(cfg.ref.aux.model),
        rewards=_rewards(),
        length=cfg.ref.aux.length,
        max_tokens=cfg.ref.aux.max_tokens,
        group_size=8,
        batch_size=cfg.ref.aux.batch_size,
    )

    cfg.model = kd.lm.WithReference(
        policy=kd.lm.LoRA(
            model=dialogs_data.decoder(cfg.ref.aux.model),
            rank=8,
            alpha=16.0,
            targets=cfg.ref.aux.targets,
        )
    )
    cfg.init_transform = dialogs_data.weights(cfg.ref.aux.model)

    cfg.num_train_steps = 20
    cfg.train_losses = {"grpo": kd.lm.GRPO()}
    cfg.train_metrics = {
        "rollout": kd.rl.RolloutStatistics(),
        "drift": kd.lm.PolicyDrift(),
    }
    cfg.optimizer = kd.optim.named_chain(
        clip=optax.clip_by_global_norm(1.0), adam=optax.adam(learning_rate=5e-4)
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=10)
    cfg.evals = {
        "held_out": kd.lm.GenerationEvaluator(
            run=kd.evals.EveryNSteps(10),
            prompts=sums_data.questions("test"),
            tokenizer=dialogs_data.tokenizer(cfg.ref.aux.model),
            max_tokens=cfg.ref.aux.max_tokens,
            # As in training: drawn, and not the likeliest.
            sampling=kd.lm.Sampling(temperature=1.0),
            batch_size=32,
            metrics={"reward": kd.rl.MeanReward(rewards=_rewards())},
        )
    }
    cfg.log_metrics_every = 1
    return cfg


def _rewards():
    return {"format": kd.rl.RegexReward(pattern=r"\d+ \+ \d+ = \d+\.?")}
