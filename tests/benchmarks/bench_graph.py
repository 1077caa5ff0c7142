"""What a graph of modules costs over the same model by hand: at tracing, and compiled.

make bench
"""

from __future__ import annotations

import time

import jax
import pytest

from tests.modules.graph import models

pytestmark = pytest.mark.bench

IMAGE = jax.ShapeDtypeStruct((2, 32, 32, 3), "float32")
GRAPH, HAND = models.unet(), models.HandUnet()
VARIABLES = jax.eval_shape(HAND.init, jax.random.key(0), IMAGE)


def by_graph(variables, image):
    return GRAPH.apply(variables, batch={"image": image})


def by_hand(variables, image):
    return HAND.apply(variables, image)


def test_tracing_31_nodes_takes_as_long_as_by_hand():
    assert len(GRAPH.nodes) == 31
    best = {}
    for _ in range(30):  # by turns: both meet the same machine
        for apply in (by_graph, by_hand):
            start = time.process_time()
            # A function of its own: JAX keeps what it has traced.
            jax.eval_shape(lambda v, x, f=apply: f(v, x), VARIABLES, IMAGE)
            secs = time.process_time() - start
            best[apply] = min(secs, best.get(apply, secs))
    ratio = best[by_graph] / best[by_hand]
    print(f"traced: {best[by_graph] * 1e3:.1f} ms, {ratio:.2f} x by hand")
    assert ratio <= 1.3


def test_compiled_program_is_the_same():
    gradients = [
        jax.grad(lambda v, x, f=apply: f(v, x)["logits"].sum())
        for apply in (by_graph, by_hand)
    ]
    programs = [models.program_of(f, VARIABLES, IMAGE) for f in gradients]
    assert programs[0] == programs[1]
