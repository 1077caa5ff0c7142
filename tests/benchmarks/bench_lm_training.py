"""Training of language models over the same maths in plain JAX: time and memory.

make bench
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.benchmarks import clocks
from tests.benchmarks import figures as figures_lib

pytestmark = pytest.mark.bench

VOCAB, LENGTH, ROWS = 4096, 256, 4
NUM_ROUNDS = clocks.rounds(9)
STEP_TIME, STEP_MEMORY = 1.02, 1.05
CHUNKED_TIME, CHUNKED_MEMORY = 1.10, 0.30


def _decoder():
    """8 M parameters."""
    return kd.nn.decoder(
        "llama",
        vocab_size=VOCAB,
        features=256,
        num_layers=8,
        num_heads=4,
        hidden_features=768,
        has_tied_head=True,
        tokens="batch.tokens",
        positions="batch.positions",
        segment_ids="batch.segment_ids",
    )


def _packed_batch():
    rng = np.random.default_rng(0)
    documents = [
        {"tokens": rng.integers(1, VOCAB, size=n)} for n in rng.integers(40, 200, 40)
    ]
    rows = kd.lm.Pack(length=LENGTH, num_tokens=VOCAB).map_chunk(documents)[:ROWS]
    return {
        key: np.stack([row[key] for row in rows])
        for key in ("tokens", "targets", "positions", "segment_ids", "loss_mask")
    }


def _plain_step(model, optimizer):
    """One update in plain JAX, with flax and optax."""

    def loss(params, batch):
        inputs = batch["tokens"], batch["positions"], batch["segment_ids"]
        logits = model.apply({"params": params}, *inputs)["logits"]
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
        return (nats * batch["loss_mask"]).sum() / batch["loss_mask"].sum()

    def step(state, batch):
        params, opt_state = state
        value, grads = jax.value_and_grad(loss)(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    return jax.jit(step, donate_argnums=0)


def _our_step(model, optimizer):
    step = kd.train.TrainStep(
        model=model,
        optimizer=optimizer,
        rng_streams=kd.train.RngStreams(seed=0),
        sharding=kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED),
        init_transform=kd.ckpts.NoopTransform(),
        aux=kd.train.Auxiliaries(
            losses={
                "nats": kd.lm.TokenCrossEntropy(
                    logits="preds.logits",
                    targets="batch.targets",
                    mask="batch.loss_mask",
                )
            },
            metrics={},
            summaries={},
        ),
        precision=None,
        remat=None,
        grad_accum_steps=1,
    )

    def run(state, batch):
        return step.step(state, batch, return_losses=True)

    return step, jax.jit(run, donate_argnums=0)


def _peak_bytes(compiled) -> int:
    memory: Any = compiled.memory_analysis()
    return memory.temp_size_in_bytes + memory.argument_size_in_bytes


def test_a_step_of_a_decoder_costs_what_it_costs_by_hand(figures):
    model, batch, optimizer = _decoder(), _packed_batch(), optax.adam(1e-3)
    step, jitted = _our_step(model, optimizer)
    batch = kd.sharding.device_put(batch, kd.sharding.REPLICATED)
    state = step.init(batch)
    params = jax.tree.map(jnp.copy, state.params)
    ours = jitted.lower(state, batch).compile()
    plain = _plain_step(model, optimizer)
    plain_state = (params, optimizer.init(params))
    theirs = plain.lower(plain_state, batch).compile()
    memory = _peak_bytes(ours) / _peak_bytes(theirs)
    states = {"ours": state, "theirs": plain_state}

    def run_ours():
        states["ours"], aux = ours(states["ours"], batch)
        return aux.loss_states

    def run_theirs():
        states["theirs"], value = theirs(states["theirs"], batch)
        return value

    secs = _in_turn(run_ours, run_theirs)
    by_hand = clocks.medians(secs["theirs"]).wall
    figures.ratio(
        "training step, decoder of 8 M parameters",
        secs["ours"],
        secs["theirs"],
        against=f"the same by hand ({by_hand:.2g} s a step)",
        budget=STEP_TIME,
    )
    of_memory = figures.number(
        "memory of the same",
        [memory],
        figures_lib.TIMES,
        against="by hand",
        budget=STEP_MEMORY,
    )
    assert of_memory.is_within_budget


def _in_turn(ours, theirs):
    runs = {"ours": ours, "theirs": theirs}
    return clocks.in_turn(
        {
            name: clocks.timed(lambda run=run: jax.block_until_ready(run()))
            for name, run in runs.items()
        },
        NUM_ROUNDS,
    )


def test_chunked_cross_entropy_takes_a_third_of_the_memory_and_no_more_time(figures):
    vocab, features, rows, length = 49_152, 576, 4, 512
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(rows, length, features)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(vocab, features)) * 0.02, jnp.float32)
    targets = jnp.asarray(rng.integers(vocab, size=(rows, length)), jnp.int32)
    mask = jnp.ones(targets.shape)
    loss = kd.lm.ChunkedCrossEntropy(
        hidden="h", kernel="k", targets="t", has_tied_head=True
    )

    def chunked(hidden, kernel):
        return loss(hidden=hidden, kernel=kernel, targets=targets, mask=mask)

    def plain(hidden, kernel):
        logits = hidden @ kernel.T
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return (nats * mask).sum() / mask.sum()

    compiled = {}
    for name, function in (("chunked", chunked), ("plain", plain)):
        gradient = jax.jit(jax.value_and_grad(function, argnums=(0, 1)))
        compiled[name] = gradient.lower(hidden, kernel).compile()
    sizes = {
        name: program.memory_analysis().temp_size_in_bytes
        for name, program in compiled.items()
    }
    memory = sizes["chunked"] / sizes["plain"]
    secs = _in_turn(
        lambda: compiled["chunked"](hidden, kernel),
        lambda: compiled["plain"](hidden, kernel),
    )
    plain = clocks.medians(secs["theirs"]).wall
    against = f"with all logits at once ({plain:.2g} s)"
    figures.ratio(
        "cross-entropy in chunks of the vocabulary, forward and backward",
        secs["ours"],
        secs["theirs"],
        against=against,
        budget=CHUNKED_TIME,
    )
    of_memory = figures.number(
        "temporaries of the same",
        [memory],
        figures_lib.TIMES,
        against=against,
        budget=CHUNKED_MEMORY,
    )
    assert of_memory.is_within_budget
