"""Attention block by block against all logits at once: memory and time on a CPU.

make bench
"""

from __future__ import annotations

import statistics
import time

import jax
import jax.numpy as jnp
import pytest

from kauldron import kd

pytestmark = pytest.mark.bench

NUM_ROUNDS, NUM_HEADS, HEAD_DIM = 3, 2, 64


def _compiled(attend, args, is_backward):
    def loss(query, key, value):
        return jnp.sum(attend(query, key, value) ** 2)

    run = jax.grad(loss, argnums=(0, 1, 2)) if is_backward else attend
    return jax.jit(run).lower(*args).compile()


def _seconds(program, args):
    start = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - start


@pytest.mark.parametrize("is_backward", [False, True], ids=["forward", "with_backward"])
@pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("length", [2048, 8192])
def test_blocks_against_all_at_once(length, is_causal, is_backward):
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
    for program in (plain, ours):
        _seconds(program, args)
    ratios = []
    for _ in range(NUM_ROUNDS):
        before = _seconds(plain, args)
        ratios.append(_seconds(ours, args) / before)
    print(
        f"\nattention, {length} tokens, causal={is_causal}, backward={is_backward}: "
        f"memory {memory[0] / 1e6:.0f} MB, ratio {memory[0] / memory[1]:.3f} (budget "
        f"0.15); time ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}.."
        f"{max(ratios):.2f}; budget 1.2)"
    )
