"""Memory of an engine of SmolLM2 beyond its weights and pages.

make bench

Resident memory of a process that has imported JAX and Kauldron is taken off, and so are the
weights and the pages; what is left are tokenizer, programs, what compiling has left, the
state of slots, and the code of libraries that only runs with an engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

_NUM_ROUNDS = 3
_BUDGET = 15  # in 100 of the weights

_PROCESS = """
import json, re, sys
import jax, jax.numpy, numpy as np
from kauldron import kd

def mib():
    with open("/proc/self/status") as file:
        found = dict(re.findall(r"(\\w+):\\s+(\\d+) kB", file.read()))
    names = {"resident": "VmRSS", "peak": "VmHWM", "private": "RssAnon"}
    return {name: int(found[key]) / 1024 for name, key in names.items()}

kd.serve.Engine, kd.lm.find  # imports the rooms
before = mib()
dtype = None if sys.argv[1] == "float32" else sys.argv[1]
with kd.serve.Engine("smollm2", context_length=512, weights_dtype=dtype) as engine:
    warm = mib()
    sampling = kd.serve.SamplingParams(max_tokens=16, temperature=0.0, ignore_eos=True)
    rng = np.random.default_rng(0)
    for length in (48, 16, 200):
        prompts = rng.integers(3, 49152, (16, length)).tolist()
        engine.answer(
            [kd.serve.Request(prompt=tuple(p), sampling=sampling) for p in prompts]
        )
    served = mib()
    programs = engine._core.programs
    weights, pages = (
        sum(x.nbytes for x in jax.tree.leaves(some)) / 2**20
        for some in (programs._weights, programs._state.pool)
    )
print(json.dumps([before, warm, served, weights, pages]))
"""


def _shares(dtype):
    """Returns what is kept beyond weights and pages, in 100 of the weights, by name."""
    # As a user's: tests have several devices.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    found = subprocess.run(
        [sys.executable, "-c", _PROCESS, dtype],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    before, warm, served, weights, pages = json.loads(found.stdout.splitlines()[-1])

    def share(after, kind, since):
        return 100 * (after[kind] - before[since] - weights - pages) / weights

    return {
        "after a warm start": share(warm, "resident", "resident"),
        "after 16 streams": share(served, "resident", "resident"),
        "after 16 streams, but for code of libraries": share(
            served, "private", "private"
        ),
        "at the peak": share(served, "peak", "resident"),
    }, weights


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_memory_of_an_engine_beyond_weights_and_pages(dtype, figures):
    rounds = [_shares(dtype) for _ in range(_NUM_ROUNDS)]
    _, weights = rounds[0]
    for name in rounds[0][0]:
        figures.number(
            f"serving, memory beyond weights ({weights:.0f} MiB, {dtype}) and pages, "
            f"{name}",
            [found[name] for found, _ in rounds],
            "% of the weights",
            budget=_BUDGET if name == "after 16 streams" else None,
        )
