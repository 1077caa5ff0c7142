"""A generator that draws handwritten digits, trained against a critic (a GAN).

    kauldron train --cfg=examples/digits_gan.py --cfg.workdir=runs/gan

takes about a minute on two CPU cores. TensorBoard (`tensorboard --logdir runs/gan`) shows
under Images, `eval/summaries/digits`, eight rows of the digits 0 to 9, drawn by the moving
average of the generator from the same noise each time: noise at step 0, most digits at 500,
and nearly all of them at the end, in many hands. A support vector machine that has learned
real digits (and reads 98 % of held-out ones) then reads more than 98 % of the drawn ones as
what they should be; one that has seen drawn digits alone reads about 96 % of the real ones.

The losses of a GAN tell little: the sum of `real` and `fake` stays near 2 while the two are
even, and near 0 the critic has won. Look at the pictures.
"""

from kauldron import konfig

with konfig.imports():
    import optax

    from examples import digits_data, digits_gan_model
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 42

    cfg.train_ds = _make_ds(training=True)
    cfg.eval_ds = _make_ds(training=False)

    cfg.model = digits_gan_model.ConditionalGan(
        image="batch.image", label="batch.label"
    )
    # Evaluations draw as well, and so need noise.
    cfg.rng_streams = kd.train.RngStreams([kd.train.RngStream("default", eval=True)])

    cfg.num_train_steps = 4000
    cfg.train_losses = {
        "real": digits_gan_model.Hinge(logits="preds.real_logits", is_real=True),
        "fake": digits_gan_model.Hinge(logits="preds.fake_logits", is_real=False),
        "fooled": kd.losses.Value(values="preds.fake_logits", weight=-1.0),
    }
    cfg.train_metrics = {
        f"{network}_grad_norm": kd.metrics.TreeReduce(
            metric=kd.metrics.Norm(
                tensor=f"grads.{network}", axis=None, aggregation_type="concat"
            )
        )
        for network in ("critic", "generator")
    }
    cfg.train_summaries = {
        "digits": kd.summaries.ShowImages(
            images="preds.enlarged",
            num_images=1,
            rearrange="(row digit) h w 1 -> 1 (row h) (digit w) 1",
            rearrange_kwargs={"digit": 10},
        ),
    }

    cfg.optimizer = None  # each group has its own
    cfg.trainstep = kd.train.LossGroupsStep(
        groups={
            "critic": kd.train.LossGroup(
                losses=["real", "fake"],
                params="critic",
                optimizer=optax.adam(learning_rate=1e-3, b1=0.0, b2=0.9),
            ),
            "generator": kd.train.LossGroup(
                losses="fooled",
                params="generator",
                optimizer=kd.optim.named_chain(
                    adam=optax.adam(learning_rate=5e-4, b1=0.0, b2=0.9),
                    ema=kd.optim.ema_params(decay=0.99),
                ),
            ),
        },
    )

    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=1000)
    cfg.evals = {
        "eval": kd.evals.Evaluator(
            run=kd.evals.EveryNSteps(500),
            metrics={},  # there are no gradients
            # Only the generator has an average.
            init_transform=kd.optim.UseEmaParams(partial_ok=True),
        ),
    }
    cfg.log_metrics_every = 50
    cfg.log_summaries_every = 500
    return cfg


def _make_ds(training: bool):
    return kd.data.py.DataSource(
        data_source=digits_data.Digits(split="train" if training else "test"),
        shuffle=training,
        num_epochs=None if training else 1,
        batch_size=80,  # eight rows of ten digits
        transforms=[
            kd.data.Elements(keep=["image", "label"]),
            kd.data.ValueRange(key="image", in_vrange=(0, 16), vrange=(0, 1)),
            kd.data.Cast(key="label", dtype="int32"),
        ],
    )
