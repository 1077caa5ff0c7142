"""Sliding windows over a volume, everything but the network, against MONAI's inferer.

    KAULDRON_TORCH_PYTHON=/path/to/python make bench

`KAULDRON_TORCH_PYTHON` is the Python of an environment with torch and monai; without it, our
numbers are printed alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.benchmarks import clocks
from tests.benchmarks import figures as figures_lib

pytestmark = pytest.mark.bench

NUM_ROUNDS = clocks.rounds(5)
TIME_BUDGET = 0.5
MEMORY_BUDGET = 0.6

# Peak memory is what is added while a volume is predicted, the volume not counted. One
# like it was predicted before: nothing is compiled, and what was freed was given back.
_MEASURE = """
import ctypes, json, resource, time

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(name)) * 1024

def measure(predict):
    predict()
    ctypes.CDLL(None).malloc_trim(0)
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    predict()
    peak = status("VmHWM") - before
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(3):
        predict()
    wall, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    processor = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    print(json.dumps({"secs": [wall / 3, processor / 3], "peak": peak}))
"""

_OURS = """
import jax
import numpy as np
from kauldron import kd

window = kd.volumes.SlidingWindow(patch_size=(64, 64, 64), overlap=0.5)
network = jax.jit(lambda patches: 1.5 * patches + 0.1)
volume = np.random.default_rng(0).random((192, 192, 192, 1), np.float32)
measure(lambda: np.asarray(window(network, volume)))
"""

_THEIRS = """
import torch
from monai.inferers import SlidingWindowInferer

window = SlidingWindowInferer(
    roi_size=(64, 64, 64), sw_batch_size=4, overlap=0.5, mode="gaussian"
)
network = lambda patches: 1.5 * patches + 0.1
with torch.inference_mode():
    volume = torch.rand((1, 1, 192, 192, 192))
    measure(lambda: window(volume, network))
"""


def _run(python: str, code: str) -> dict[str, Any]:
    command = [python, "-c", _MEASURE + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(900)
def test_time_and_memory_of_a_whole_volume(figures):
    peers = os.environ.get("KAULDRON_TORCH_PYTHON")
    programs = {"ours": (sys.executable, _OURS)}
    if peers:
        programs["MONAI"] = (peers, _THEIRS)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
    for _ in range(NUM_ROUNDS):
        for name, program in programs.items():
            found[name].append(_run(*program))
    secs = {
        name: [clocks.Secs(*run["secs"]) for run in runs]
        for name, runs in found.items()
    }
    what = "sliding window, 192³, patch 64³, overlap 0.5, light network"
    figures.number(what, [s.wall for s in secs["ours"]], "s")
    # Freed memory that the allocator keeps makes it vary by a third, for both.
    peaks = {name: [run["peak"] for run in runs] for name, runs in found.items()}
    figures.number(
        f"{what}: memory more at its peak", [x / 2**20 for x in peaks["ours"]], "MiB"
    )
    if not peers:
        pytest.skip("set KAULDRON_TORCH_PYTHON to compare with MONAI")
    figures.ratio(
        f"{what}, against",
        secs["ours"],
        secs["MONAI"],
        against="MONAI's inferer",
        budget=TIME_BUDGET,
    )
    figures.number(
        f"{what}: memory more at its peak, over that of MONAI's inferer",
        [a / b for a, b in zip(peaks["ours"], peaks["MONAI"], strict=True)],
        figures_lib.TIMES,
        budget=MEMORY_BUDGET,
    )
