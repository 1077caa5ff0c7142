"""Memory of an engine of SmolLM2 beyond its weights and pages.

make bench

Resident memory of a process that has imported JAX and Kauldron is taken off, and so are the
weights and the pages; what is left are tokenizer, programs, what compiling has left, the
state of slots, and the code of libraries that only runs with an engine. An engine in a
program of one's own is told from one in a command, which has glibc keep one heap, and
whose second start reads its programs from the cache of compilations.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.benchmarks import clocks

pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

_NUM_ROUNDS = clocks.rounds(3)
_BUDGET = 15  # in 100 of the weights

_PROCESS = """
import contextlib, json, sys, time
from kauldron._base import allocator

is_command = sys.argv[2] == "command"
if is_command:
    allocator.keep_freed_memory()

import jax, jax.numpy, numpy as np
from kauldron import kd
from tests.benchmarks import clocks, memory

kd.serve.Engine, kd.lm.find  # imports the rooms
before = memory.of_process()
dtype = None if sys.argv[1] == "float32" else sys.argv[1]
with contextlib.ExitStack() as contexts:
    contexts.enter_context(kd.train.compilation_cache(wanted=is_command))
    made = kd.serve.Engine("smollm2", context_length=512, weights_dtype=dtype)
    engine = contexts.enter_context(made)
    warm = memory.of_process()
    sampling = kd.serve.SamplingParams(max_tokens=16, temperature=0.0, ignore_eos=True)
    rng = np.random.default_rng(0)
    for length in (48, 16, 200):
        prompts = rng.integers(3, 49152, (16, length)).tolist()
        engine.answer(
            [kd.serve.Request(prompt=tuple(p), sampling=sampling) for p in prompts]
        )
    served = memory.of_process()
    time.sleep(2)
    rested = memory.of_process()
    programs = engine._core.programs
    weights, pages = (
        sum(x.nbytes for x in jax.tree.leaves(some)) / 2**20
        for some in (programs._weights, programs._state.pool)
    )
print(json.dumps([before, warm, served, rested, weights, pages]))
"""


def _shares(dtype, owner="program", cache=None):
    """Returns what is kept beyond weights and pages, in 100 of the weights, by name."""
    # As a user's: tests have several devices.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    if cache is not None:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    before, warm, served, rested, weights, pages = _said_by(
        ["-c", _PROCESS, dtype, owner], environment
    )

    def share(after, kind, since):
        return _share(before[since], after[kind], weights, pages)

    return {
        "after a warm start": share(warm, "resident", "resident"),
        "after 16 streams": share(served, "resident", "resident"),
        "after 16 streams, but for code of libraries": share(
            served, "private", "private"
        ),
        "two seconds after the last answer": share(rested, "resident", "resident"),
        "at the peak": share(served, "peak", "resident"),
    }, weights


def _said_by(arguments, environment):
    """Returns what the last line of a program of Python says."""
    found = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return json.loads(found.stdout.splitlines()[-1])


def _share(before, after, weights, pages):
    return 100 * (after - before - weights - pages) / weights


def _note(figures, rounds, kind):
    weights = rounds[0][1]
    for name in rounds[0][0]:
        figures.number(
            f"serving, memory beyond weights ({weights:.0f} MiB, {kind}) and pages, "
            f"{name}",
            [found[name] for found, _ in rounds],
            "% of the weights",
            budget=_BUDGET if name == "after 16 streams" else None,
        )


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_memory_of_an_engine_beyond_weights_and_pages(dtype, figures):
    _note(figures, [_shares(dtype) for _ in range(_NUM_ROUNDS)], dtype)


def test_memory_of_a_command_that_serves_by_its_start(figures, tmp_path):
    starts = {"first": [], "second": []}
    for number in range(_NUM_ROUNDS):
        for rounds in starts.values():
            cache = tmp_path / str(number)
            rounds.append(_shares("float32", "command", cache))
    for start, rounds in starts.items():
        _note(figures, rounds, f"float32, {start} start of a command")


@pytest.mark.parametrize("num_programs", [1, 6])
def test_memory_of_the_programs_of_a_decoder_by_hand(num_programs, figures):
    """What JAX and XLA take for such a model, with nothing around it."""
    program = ["-m", "tests.benchmarks.raw_decoder", str(num_programs)]
    rounds = [_said_by(program, os.environ) for _ in range(_NUM_ROUNDS)]
    figures.number(
        "a decoder of that size in plain JAX, without tokenizer, sampling and batching, "
        f"memory beyond weights and cache: {num_programs} programs",
        [
            _share(before["resident"], after["resident"], weights, cache)
            for before, after, weights, cache in rounds
        ],
        "% of the weights",
    )
