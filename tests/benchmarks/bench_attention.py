"""Attention block by block against all logits at once: memory and time on a CPU.

make bench
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from kauldron import kd
from tests.benchmarks import clocks
from tests.benchmarks import figures as figures_lib

pytestmark = pytest.mark.bench

NUM_ROUNDS, NUM_HEADS, HEAD_DIM = 7, 2, 64


def _compiled(attend, args, is_backward):
    def loss(query, key, value):
        return jnp.sum(attend(query, key, value) ** 2)

    run = jax.grad(loss, argnums=(0, 1, 2)) if is_backward else attend
    return jax.jit(run).lower(*args).compile()


@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "with_backward"])
@pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("length", [2048, 8192])
def test_blocks_against_all_at_once(figures, length, is_causal, is_backward):
    shape = (1, length, NUM_HEADS, HEAD_DIM)
    args = [
        jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 3)
    ]
    plain = _compiled(
        lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=is_causal),
        args,
        is_backward,
    )
    ours = _compiled(
        lambda q, k, v: kd.nn.dot_product_attention(q, k, v, is_causal=is_causal),
        args,
        is_backward,
    )
    memory = [p.memory_analysis().temp_size_in_bytes for p in (ours, plain)]
    secs = clocks.in_turn(
        {
            "ours": clocks.timed(lambda: jax.block_until_ready(ours(*args))),
            "plain": clocks.timed(lambda: jax.block_until_ready(plain(*args))),
        },
        num_rounds=NUM_ROUNDS,
    )
    what = f"attention, {length:,} tokens{', causal' if is_causal else ''}, forward"
    what += " and backward" if is_backward else ""
    figures.ratio(
        what, secs["ours"], secs["plain"], against="all logits at once", budget=1.2
    )
    figures.number(
        f"{what}: memory over that of all logits at once",
        [memory[0] / memory[1]],
        figures_lib.TIMES,
        budget=0.15,
    )
