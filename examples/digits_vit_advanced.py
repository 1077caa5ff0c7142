"""What one looks at when a transformer does not learn, and what helps.

Metrics of whole trees of arrays and of what modules compute inside, checks inside of
jit, clipping and a moving average of the parameters, a trace of a few steps, the program of the
model as a file, and several named sweeps:

    kauldron train --cfg=examples/digits_vit_advanced.py --cfg.workdir=runs/looked_at
"""

from typing import Any

from examples import digits_vit
from kauldron import konfig

with konfig.imports():
    import optax
    from jax.experimental import checkify

    from kauldron import kd


def get_config():
    cfg: Any = digits_vit.get_config()

    first_block = "interms.encoder.layers_0"
    cfg.train_metrics = {
        "accuracy": cfg.train_metrics["accuracy"],
        # Of each token, over the tokens it looks at: 1/16 everywhere has norm 0.25.
        "attention_norm": kd.metrics.Norm(
            tensor=f"{first_block}.attention.attn_weights[0]", axis=-1
        ),
        # One value for each parameter...
        "param_norm": kd.metrics.TreeMap(
            metric=kd.metrics.Norm(
                tensor="params.**.kernel", axis=None, aggregation_type="average"
            )
        ),
        # ... and one for all gradients, which an evaluation does not have.
        "grad_norm": kd.metrics.SkipIfMissing(
            kd.metrics.TreeReduce(
                metric=kd.metrics.Norm(
                    tensor="grads", axis=None, aggregation_type="concat"
                )
            )
        ),
    }

    cfg.optimizer = kd.optim.named_chain(
        clip=optax.clip_by_global_norm(1.0),
        adam=optax.adam(learning_rate=cfg.ref.schedules["learning_rate"]),
        ema=kd.optim.ema_params(decay=0.99),
    )
    cfg.evals["eval"].init_transform = kd.optim.UseEmaParams()

    # What the model's own `checkify.check(...)` finds. `nan_checks` looks at every
    # operation: that takes minutes to compile.
    cfg.checkify_error_categories = checkify.user_checks
    cfg.profiler = kd.inspect.Profiler(first_profile=20, all_host=True)
    cfg.exporter = kd.export.JaxModelExporter(platforms=("cpu", "cuda"))
    cfg.setup = kd.train.setup_utils.Setup(
        tags=["vit", "looked_at"], note_template="A transformer, looked into."
    )
    return cfg


def sweep_depth():
    yield from digits_vit.sweep()


def sweep_learning_rate():
    for value in (5e-4, 2e-3, 8e-3):
        yield {"aux.peak_learning_rate": value}
