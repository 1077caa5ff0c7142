"""Training loops that benchmarks time against each other: ours, and written by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kauldron import kd
from tests.benchmarks import clocks, small_models
from tests.train import small_run

NEVER = 10**9
# What hand-written loops do with a batch: put it on the device, one batch ahead; or hand
# its NumPy arrays to the jitted step, which on a CPU copies them faster.
PLACINGS: dict[str, Callable[[Any], Any]] = {
    "device_put": jax.device_put,
    "numpy": lambda batch: batch,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeated(kd.data.Pipeline):
    """The same batch again and again, so that steps alone are measured."""

    is_endless = True
    batch: Mapping[str, np.ndarray]

    @property
    def element_spec(self):
        return {
            key: jax.ShapeDtypeStruct(x.shape, x.dtype) for key, x in self.batch.items()
        }

    def __iter__(self):
        return _Repeat(dict(self.batch))


class _Repeat:
    def __init__(self, batch):
        self._batch = batch

    def __next__(self):
        return self._batch

    def get_state(self):
        return {}

    def close(self):
        pass


def cross_entropy(logits, batch):
    """The loss that all loops have; `label` has an axis of one at its end."""
    labels = batch["label"][..., 0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def plain_step(model, optimizer, *, input_key="x", dtype=None):
    """One update as a user of flax and optax writes it; `(state, batch) -> state, loss`.

    The state is `(params, opt_state, step)`. With a `dtype`, parameters and inputs are cast
    to it before the forward pass.
    """

    def cast(tree):
        if dtype is None:
            return tree
        return jax.tree.map(
            lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x,
            tree,
        )

    def step(state, batch):
        params, opt_state, step_nr = state

        def loss_fn(params):
            with kd.nn.set_train_property(True):
                variables = {"params": cast(params)}
                logits = model.apply(variables, cast(batch[input_key]))["logits"]
            return cross_entropy(logits.astype(jnp.float32), batch)

        value, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, step_nr + 1), value

    return step


class RawLoop:
    """A jitted step that is given its batches one ahead, and its state to overwrite.

    Args:
      model: A flax module.
      batch: What each step gets.
      optimizer: Of optax.
      placing: Name of `PLACINGS`.
      input_key: What of the batch the model gets.
      dtype: Of the computation; that of the parameters unless given.
    """

    def __init__(
        self,
        model,
        batch,
        *,
        optimizer=None,
        placing="device_put",
        input_key="x",
        dtype=None,
    ):
        optimizer = optimizer or optax.adam(1e-3)
        self._batch, self._place = batch, PLACINGS[placing]

        def init(key):
            with kd.nn.set_train_property(True):
                params = model.init(key, batch[input_key])["params"]
            return params, optimizer.init(params), jnp.int32(0)

        self.state = jax.jit(init)(jax.random.key(0))
        step = plain_step(model, optimizer, input_key=input_key, dtype=dtype)
        self.jitted = jax.jit(step, donate_argnums=0)
        self.run(3)

    def run(self, num_steps: int) -> clocks.Secs:
        """Makes steps; returns the seconds of one."""
        start = clocks.now()
        following = self._place(self._batch)
        for i in range(num_steps):
            batch, following = following, self._place(self._batch)
            self.state, loss = self.jitted(self.state, batch)
            if i % 500 == 0:
                float(loss)
        jax.block_until_ready(self.state)
        return clocks.since(start).per(num_steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InTurn(kd.evals.EvaluatorBase):
    """Whenever our loop has made some steps, others make as many.

    Attributes:
      others: Name -> function that makes as many and returns the seconds of a step.
      secs: Name -> seconds of a step in each round; `"ours"` of ours.
      start: When our latest round began.
    """

    others: dict[str, Callable[[], clocks.Secs]]
    secs: dict[str, list[clocks.Secs]]
    start: list[clocks.Secs] = dataclasses.field(default_factory=list)

    def evaluate(self, state, step):
        jax.block_until_ready(state)
        if self.start:  # there is nothing before the first round
            secs = clocks.since(self.start[0]).per(self.run.n)
            self.secs.setdefault("ours", []).append(secs)
        for name, run in self.others.items():
            self.secs.setdefault(name, []).append(run())
        self.start[:] = [clocks.now()]


def make_trainer(workdir, batch, **changes):
    """A trainer of a small `Mlp` on one batch that logs rarely and measures nothing else."""
    kwargs = {
        "train_ds": Repeated(batch=batch),
        "eval_ds": None,
        "model": small_models.Mlp(),
        "optimizer": optax.adam(1e-3),
        "train_metrics": {},
        "log_metrics_every": 500,
        "log_summaries_every": NEVER,
        "evals": {},
    }
    return small_run.make_trainer(workdir, **{**kwargs, **changes})


def in_turn(workdir, batch, others, *, num_steps, num_rounds=7, **changes):
    """Trains, and lets others make as many steps whenever ours has made `num_steps`.

    Args:
      workdir: Of our run.
      batch: What each step gets.
      others: Name -> function of a number of steps that returns the seconds of one.
      num_steps: Of a round.
      num_rounds: How many are measured; one more, in which ours compiles, is not.
      **changes: Of the trainer.

    Returns:
      Name -> seconds of a step in each round; `"ours"` of ours.
    """
    num_rounds = clocks.rounds(num_rounds)
    evaluator = InTurn(
        run=kd.evals.EveryNSteps(num_steps),
        others={k: lambda run=run: run(num_steps) for k, run in others.items()},
        secs={},
    )
    make_trainer(
        workdir,
        batch,
        **changes,
        num_train_steps=num_steps * (num_rounds + 1),
        evals={"in_turn": evaluator},
    ).train()
    return {name: secs[-num_rounds:] for name, secs in evaluator.secs.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Noted(kd.evals.EvaluatorBase):
    """Notes when all steps before it are done."""

    times: list[clocks.Secs]

    def evaluate(self, state, step):
        jax.block_until_ready(state)
        self.times.append(clocks.now())


def our_run(workdir, batch, **changes):
    """Returns a function of a number of steps: trains, returns the seconds of one.

    The first steps, which compile, are not counted.
    """

    def run(num_steps):
        times: list[clocks.Secs] = []
        make_trainer(
            workdir,
            batch,
            **changes,
            num_train_steps=num_steps + 10,
            evals={
                "start": _Noted(run=kd.evals.Once(10), times=times),
                "end": _Noted(run=kd.evals.Final(), times=times),
            },
        ).train()
        start, end = times
        return clocks.Secs(end.wall - start.wall, end.processor - start.processor).per(
            num_steps
        )

    return run
