"""Members that fail in one place each, as a user would write them by mistake."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
import numpy as np

from kauldron import kd, metrics


@flax.struct.dataclass
class _FailsInCompute(metrics.AverageState):
    def compute(self):
        return 1 / 0  # a bug in compute


@flax.struct.dataclass
class _FailsInMerge(metrics.AverageState):
    def merge(self, other):
        raise LookupError("a bug in merge")


@flax.struct.dataclass
class _FailsInFinalize(metrics.AverageState):
    def finalize(self):
        raise LookupError("a bug in finalize")


@flax.struct.dataclass
class _GivesText(metrics.AverageState):
    def compute(self):
        return "seven"


STATES = {
    "compute": _FailsInCompute,
    "merge": _FailsInMerge,
    "finalize": _FailsInFinalize,
    "text": _GivesText,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric(metrics.Metric):
    """The mean of the inputs, with a state that fails."""

    fails_in: str
    x: kd.kontext.Key = "batch.x"

    def get_state(self, x):
        return STATES[self.fails_in].from_values(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss(kd.losses.Loss):
    """A loss that can be trained on, but not shown."""

    logits: kd.kontext.Key = "preds.logits"

    @flax.struct.dataclass
    class State(kd.losses.Loss.State):
        def compute(self):
            raise ValueError("label 7 is no class")

    def get_values(self, logits):
        return logits**2


@dataclasses.dataclass(frozen=True, kw_only=True)
class NanAt(kd.losses.Loss):
    """NaN at some steps; it has no gradient there."""

    at_step: kd.kontext.Key = "step"
    first: int = 0
    last: int = 10**6

    def get_values(self, at_step):
        is_nan = (at_step >= self.first) & (at_step <= self.last)
        return jnp.where(is_nan, jnp.nan, 0.0)[None]


class Hook(kd.train.Hook):
    """Fails where it is told of measurements."""

    def __init__(self):
        self.measured = []

    def on_eval(self, run, *, step, name, values):
        self.measured.append(set(values))

    def on_log(self, run, *, step, values):
        raise RuntimeError(f"no connection at {step}")


class Block(nn.Module):
    """Fails when it is `bad`: (4,) does not fit (5,)."""

    bad: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4)(x)
        return x @ jnp.ones((5, 3)) if self.bad else x  # a bug in a block


class Encoder(nn.Module):
    def setup(self):
        self.block_1 = Block()
        self.block_2 = Block(bad=True)

    def __call__(self, x):
        return self.block_2(self.block_1(x))


class Model(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        return {"logits": Encoder(name="encoder")(x)}


class ReturnsNothing(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        nn.Dense(2)(x)


class BadRows:
    """A source with a row that cannot be read."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == 17:
            raise ValueError(f"row {index} is damaged")
        return {"x": np.zeros(3, np.float32), "label": np.zeros(1, np.int32)}
