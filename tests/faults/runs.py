"""The runs that are killed: small, and with everything in them that has a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import optax

from kauldron import kd
from tests.train import small_run

NUM_STEPS = 40
SAVE_INTERVAL_STEPS = 4


class Net(nn.Module):
    """Two layers with dropout and batch norm, so that there are batch statistics."""

    x: kd.kontext.Key = "batch.x"
    is_training = kd.nn.train_property()

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = nn.Dense(8)(x)
        x = nn.BatchNorm(use_running_average=not self.is_training)(x)
        x = kd.nn.Dropout(0.2)(nn.relu(x))
        return {"logits": nn.Dense(2)(x)}


def _make(workdir: Any, hooks: Any, **changes: Any) -> Any:
    kwargs: dict[str, Any] = {
        "model": Net(),
        "num_train_steps": NUM_STEPS,
        "log_metrics_every": 3,
        "checkpointer": kd.ckpts.Checkpointer(
            save_interval_steps=SAVE_INTERVAL_STEPS, max_to_keep=2
        ),
        "evals": {"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(10))},
        # It never stops the run, but its counter is part of the state.
        "hooks": {
            "early_stopping": kd.train.EarlyStopping(
                metric="eval.accuracy", patience=100, min_delta=0.2
            ),
            **hooks,
        },
    }
    return small_run.make_trainer(workdir, **{**kwargs, **changes})


def _load_in_memory() -> dict[str, Any]:
    points = small_run.Points()
    labels = (points.x[:, :1] > 0).astype("int32")
    return {"x": points.x, "label": labels}


def _in_memory(workdir: Any, hooks: Any) -> Any:
    ds = kd.data.InMemoryPipeline(loader=_load_in_memory, shuffle=True, batch_size=16)
    return _make(workdir, hooks, train_ds=ds)


def _records(num_workers: int) -> Callable[[Any, Any], Any]:
    def make(workdir: Any, hooks: Any) -> Any:
        return _make(
            workdir, hooks, train_ds=small_run.make_ds(num_workers=num_workers)
        )

    return make


def _fsdp(workdir: Any, hooks: Any) -> Any:
    return _make(workdir, hooks, sharding="fsdp")


def _mixture(workdir: Any, hooks: Any) -> Any:
    parts = [small_run.make_ds(data_source=small_run.Points(n, n)) for n in (20, 33)]
    ds = kd.data.py.Mix(parts, weights=[0.3, 0.7], batch_size=16)
    return _make(workdir, hooks, train_ds=ds)


def _accumulation_and_ema(workdir: Any, hooks: Any) -> Any:
    optimizer = kd.optim.named_chain(
        adam=optax.adam(1e-2), ema=kd.optim.ema_params(decay=0.9)
    )
    return _make(workdir, hooks, optimizer=optimizer, grad_accum_steps=2)


def _half_precision(workdir: Any, hooks: Any) -> Any:
    # So large a scale overflows at first: updates are skipped, and it shrinks.
    scale = kd.train.DynamicLossScale(initial=2.0**24, growth_interval=5)
    precision = kd.train.Precision(compute="float16", loss_scale=scale)
    return _make(workdir, hooks, precision=precision)


def _two_optimizers(workdir: Any, hooks: Any) -> Any:
    groups = {
        "trunk": kd.train.LossGroup(
            losses="xentropy",
            params=["Dense_0", "BatchNorm_0"],
            optimizer=optax.adam(1e-2),
        ),
        "head": kd.train.LossGroup(
            losses="xentropy",
            params="Dense_1",
            optimizer=optax.sgd(1e-1, momentum=0.9),
            every=3,
        ),
    }
    step = kd.train.LossGroupsStep(groups=groups)
    return _make(workdir, hooks, optimizer=None, trainstep=step)


# Name -> function of workdir and hooks.
RUNS: dict[str, Callable[[Any, Any], Any]] = {
    "in_memory": _in_memory,
    "records_0_workers": _records(0),
    "records_2_workers": _records(2),
    "mixture": _mixture,
    "accumulation_and_ema": _accumulation_and_ema,
    "half_precision": _half_precision,
    "two_optimizers": _two_optimizers,
    "eight_devices": _records(0),
    "eight_devices_fsdp": _fsdp,
    "two_processes_fsdp": _fsdp,
}
# Of each process.
NUM_DEVICES = {
    **dict.fromkeys(RUNS, 1),
    "eight_devices": 8,
    "eight_devices_fsdp": 8,
    "two_processes_fsdp": 2,
}
NUM_PROCESSES = {**dict.fromkeys(RUNS, 1), "two_processes_fsdp": 2}
