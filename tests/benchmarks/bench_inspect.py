"""Displays of a model with a billion parameters: against tracing it once, bare.

Nothing of it is computed; the time is that of following the model on shapes.

make bench
"""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.benchmarks import clocks
from tests.benchmarks import figures as figures_lib

pytestmark = pytest.mark.bench

_LENGTH, _VOCAB = 2048, 32768
# Of a bare `jax.eval_shape(model.init)`, which cannot be done without.
_MOST = {
    "state": 2.5,
    "config": 0.3,
    "parameters": 0.3,
    "context": 2.5,
    "modules": 2.0,
    "operations": 2.0,
    "devices": 0.3,
    "all in one": 6.0,
}


class _Rows:
    def __len__(self):
        return 16

    def __getitem__(self, index):
        row = np.zeros(_LENGTH, np.int32)
        return {"tokens": row, "targets": row[:, None]}


def _make_trainer(scan_layers):
    model = kd.nn.decoder(
        "llama",
        vocab_size=_VOCAB,
        features=2048,
        num_layers=16,
        num_heads=16,
        num_kv_heads=8,
        hidden_features=8192,
        scan_layers=scan_layers,
        tokens="batch.tokens",
    )
    loss = kd.losses.SoftmaxCrossEntropyWithIntLabels(
        logits="preds.logits", labels="batch.targets"
    )
    return kd.train.Trainer(
        workdir=None,
        train_ds=kd.data.py.DataSource(_Rows(), batch_size=4, shuffle=False),
        model=model,
        num_train_steps=10,
        optimizer=optax.adamw(1e-3),
        train_losses={"xentropy": loss},
    )


def _config():
    from examples import lm_pretrain

    return lm_pretrain.get_config()


def _html(shown):
    return str(shown) and shown._repr_html_()


def _displays(trainer):
    """Yields the displays in the order in which a notebook has them."""
    inspect = kd.inspect
    yield "state", lambda: trainer.state_specs
    yield "config", lambda: _html(_config())
    yield "parameters", lambda: _html(inspect.parameter_table(trainer))
    yield "context", lambda: _html(inspect.plot_context(trainer))
    yield "modules", lambda: _html(inspect.model_overview(trainer))
    yield "operations", lambda: _html(inspect.flops_table(trainer))
    yield "devices", lambda: _html(inspect.plot_sharding(trainer))


def _init_bare(trainer):
    tokens = jax.ShapeDtypeStruct((4, _LENGTH), "int32")
    rngs = {name: jax.random.key(0) for name in ("params", "dropout")}
    with kd.nn.set_train_property(True):
        # A function of its own: JAX keeps what it has traced.
        jax.eval_shape(lambda x: trainer.model.init(rngs, x), tokens)


@pytest.mark.parametrize("scan_layers", [False, True], ids=["layers", "scan"])
def test_displays_of_a_billion_parameters(figures, scan_layers):
    _config()
    _init_bare(_make_trainer(scan_layers))  # what is imported and set up once
    secs: dict[str, list[float]] = {}
    for _ in range(5):
        trainer, whole = _make_trainer(scan_layers), _make_trainer(scan_layers)
        runs = [
            ("bare", lambda: _init_bare(trainer)),  # noqa: B023
            *_displays(trainer),
            ("all in one", lambda: _html(kd.inspect.show_trainer_info(whole))),  # noqa: B023
        ]
        for name, run in runs:
            secs.setdefault(name, []).append(clocks.measured(run)[1].processor)
    size = sum(
        int(np.prod(x.shape)) for x in jax.tree.leaves(trainer.state_specs.params)
    )
    assert size > 1e9
    bare = secs.pop("bare")
    layers = "scanned" if scan_layers else "unrolled"
    for name, taken in secs.items():
        figures.number(
            f"display of {size / 1e9:.1f} G parameters, layers {layers}: {name}, "
            "processor time over that of `jax.eval_shape(model.init)`",
            [a / b for a, b in zip(taken, bare, strict=True)],
            figures_lib.TIMES,
            budget=_MOST[name],
        )
