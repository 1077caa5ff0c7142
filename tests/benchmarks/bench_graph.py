"""What a graph of modules costs over the same model by hand: at tracing, and compiled.

make bench
"""

from __future__ import annotations

import jax
import pytest

from tests.benchmarks import clocks
from tests.modules.graph import models

pytestmark = pytest.mark.bench

IMAGE = jax.ShapeDtypeStruct((2, 32, 32, 3), "float32")
GRAPH, HAND = models.unet(), models.HandUnet()
VARIABLES = jax.eval_shape(HAND.init, jax.random.key(0), IMAGE)


def by_graph(variables, image):
    return GRAPH.apply(variables, batch={"image": image})


def by_hand(variables, image):
    return HAND.apply(variables, image)


def test_tracing_31_nodes_takes_as_long_as_by_hand(figures):
    assert len(GRAPH.nodes) == 31

    def traced(apply):
        # A function of its own: JAX keeps what it has traced.
        return clocks.timed(
            lambda: jax.eval_shape(lambda v, x: apply(v, x), VARIABLES, IMAGE)
        )

    secs = clocks.in_turn(
        {"graph": traced(by_graph), "hand": traced(by_hand)}, num_rounds=31
    )
    figures.ratio(
        "tracing a graph of 31 nodes",
        secs["graph"],
        secs["hand"],
        against="the same module by hand",
        budget=1.3,
    )


def test_compiled_program_is_the_same():
    gradients = [
        jax.grad(lambda v, x, f=apply: f(v, x)["logits"].sum())
        for apply in (by_graph, by_hand)
    ]
    programs = [models.program_of(f, VARIABLES, IMAGE) for f in gradients]
    assert programs[0] == programs[1]
