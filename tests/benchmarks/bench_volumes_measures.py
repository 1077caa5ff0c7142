"""Distances of surfaces against medpy and surface-distance; losses against direct forms.

    KAULDRON_SURFACES_PYTHON=/path/to/python make bench

`KAULDRON_SURFACES_PYTHON` is the Python of an environment with medpy and surface-distance;
without it, our numbers are printed alone. Times are those of processors: what else runs on the
machine does not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import clocks
from tests.benchmarks import figures as figures_lib

pytestmark = pytest.mark.bench

NUM_ROUNDS = clocks.rounds(7)

_MASKS = """
import json, sys, time
import numpy as np
from scipy import ndimage

SPACING = (2.0, 1.0, 1.0)

def ball(at, radius):
    z, y, x = np.ogrid[:200, :200, :200]
    return (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < radius**2

def tissue(seed):
    noise = np.random.default_rng(seed).normal(size=(200, 200, 200)).astype(np.float32)
    return ndimage.gaussian_filter(noise, 6)

MASKS = {
    "organ": lambda: (ball((100, 100, 100), 60), ball((104, 98, 101), 58)),
    "body": lambda: (ball((100, 100, 100), 95), ball((97, 100, 101), 92)),
    "tissue": lambda: (tissue(0) > 0, tissue(0) + 0.3 * tissue(1) > 0),
    "far apart": lambda: (ball((50, 50, 50), 40), ball((150, 150, 150), 45)),
    "hollow": lambda: (ball((100, 100, 100), 30), ball((100, 100, 100), 95)),
}

def report(**measures):
    tiny = np.zeros((6, 6, 6), bool)
    tiny[2:4, 2:4, 2:4] = True
    for function in measures.values():  # imports what it needs
        function(tiny, tiny)
    found = {}
    for name, make in MASKS.items():
        a, b = make()
        for measure, function in measures.items():
            start = time.process_time()
            function(a, b)
            found.setdefault(name, {})[measure] = time.process_time() - start
    print(json.dumps(found))
"""

_OURS = """
from kauldron import kd
measure = kd.volumes.metrics
report(
    hd95=lambda a, b: measure.hausdorff(a, b, spacing_mm=SPACING, percentile=95),
    distance=lambda a, b: measure.surface_distance(a, b, spacing_mm=SPACING),
)
"""

_MEDPY = """
from medpy.metric import binary
report(
    hd95=lambda a, b: binary.hd95(a, b, SPACING),
    distance=lambda a, b: binary.assd(a, b, SPACING),
)
"""

_SURFACE_DISTANCE = """
import surface_distance as sd

def distances(a, b):
    return sd.compute_surface_distances(a, b, SPACING)

report(
    hd95=lambda a, b: sd.compute_robust_hausdorff(distances(a, b), 95),
    distance=lambda a, b: sd.compute_average_surface_distance(distances(a, b)),
)
"""


def _run(python, script):
    run = [python, "-c", _MASKS + script]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(1800)
def test_distances_of_surfaces_in_volumes_of_200_voxels(figures):
    peer = os.environ.get("KAULDRON_SURFACES_PYTHON")
    rounds = []
    for _ in range(NUM_ROUNDS):
        ours = _run(sys.executable, _OURS)
        others = [_run(peer, s) for s in (_MEDPY, _SURFACE_DISTANCE)] if peer else []
        rounds.append((ours, others))
    for name, measures in rounds[0][0].items():
        for measure in measures:
            secs = [ours[name][measure] for ours, _ in rounds]
            what = f"{measure} of surfaces of 200³ voxels, {name}, processor time"
            figures.number(what, secs, "s")
            if not peer:
                continue
            figures.number(
                f"{what}: speed",
                [
                    min(x[name][measure] for x in others) / ours[name][measure]
                    for ours, others in rounds
                ],
                figures_lib.TIMES,
                against="that of the faster of medpy and surface-distance",
                budget=2,
                is_more_better=True,
            )


def _direct_information(a, b):
    """Parzen mutual information as its formula: all weights of all voxels at once."""

    def spread(x):
        low, high = jax.lax.stop_gradient((x.min(), x.max()))
        places = (x.ravel() - low) / (high - low) * 28 + 2
        u = jnp.abs(places[:, None] - jnp.arange(32.0))
        near, beyond = jnp.maximum(1 - u, 0), jnp.maximum(2 - u, 0)
        return (beyond**3 - 4 * near**3) / 6

    p = spread(a).T @ spread(b)
    p = p / p.sum()
    q = p.sum(0) * p.sum(1)[:, None]
    is_there = p > 1e-16
    ratio = jnp.where(is_there, p, 1) / jnp.where(is_there, q, 1)
    return -jnp.where(is_there, p * jnp.log(ratio), 0).sum()


def _windows_at_once(x):
    sizes, ones = (1, 9, 9, 9, 1), (1,) * 5
    return jax.lax.reduce_window(x, np.float32(0), jax.lax.add, sizes, ones, "VALID")


def _windows_by_axis(x):
    for axis in (1, 2, 3):
        sizes = tuple(9 if i == axis else 1 for i in range(5))
        add, ones = jax.lax.add, (1,) * 5
        x = jax.lax.reduce_window(x, np.float32(0), add, sizes, ones, "VALID")
    return x


def _direct_correlation(windows):
    """Correlation in windows as its formula, all windows at once."""

    def loss(a, b):
        def mean(x):
            return windows(x) / 9**3

        a, b = a - a.mean(), b - b.mean()
        covariance = mean(a * b) - mean(a) * mean(b)
        var_a, var_b = (jnp.maximum(mean(x * x) - mean(x) ** 2, 0) for x in (a, b))
        return 1 - (covariance / jnp.sqrt(var_a * var_b + 1e-8)).mean()

    return loss


_PAIR = {"preds": "a", "targets": "b"}
_LOSSES = {
    "mutual information": (
        kd.volumes.losses.MutualInformation(**_PAIR),
        _direct_information,
    ),
    "local correlation": (
        kd.losses.NormalizedCrossCorrelation(window=9, **_PAIR),
        _direct_correlation(_windows_at_once),
    ),
    "local correlation, against sums axis by axis": (
        kd.losses.NormalizedCrossCorrelation(window=9, **_PAIR),
        _direct_correlation(_windows_by_axis),
    ),
}


@pytest.mark.parametrize("name", _LOSSES)
def test_losses_and_their_gradients_in_volumes_of_96_voxels(name, figures):
    _compare(figures, name, 96, num_rounds=2 * NUM_ROUNDS)


# Of other sizes, the last slab of windows shares more or fewer planes with the one before.
@pytest.mark.parametrize("size", [56, 72, 80])
def test_local_correlation_of_other_sizes(size, figures):
    name = "local correlation, against sums axis by axis"
    _compare(figures, name, size, num_rounds=8 * NUM_ROUNDS)


def _compare(figures, name, size, num_rounds):
    loss, direct = _LOSSES[name]
    a = np.random.default_rng(0).random((1, *(size,) * 3, 1), np.float32)
    args = a, (a + 0.2 * np.random.default_rng(1).random(a.shape, np.float32)) ** 2
    forms = (lambda x, y: loss.get_values(x, y).mean(), direct)
    programs = [jax.jit(jax.value_and_grad(f)).lower(*args).compile() for f in forms]
    memory = [p.memory_analysis().temp_size_in_bytes for p in programs]
    values = [float(p(*args)[0]) for p in programs]
    np.testing.assert_allclose(*values, rtol=1e-4)
    runs = [lambda p=p: jax.block_until_ready(p(*args)) for p in programs]
    secs = clocks.in_turn(
        {i: clocks.timed(run) for i, run in enumerate(runs)}, num_rounds=num_rounds
    )
    what, formula = f"{name}, {size}³ voxels", "the formula written down directly"
    # Sums axis by axis are what the formula becomes once somebody has thought about it.
    time_budget, memory_budget = (None, None) if "by axis" in name else (1.0, 0.5)
    figures.ratio(what, *secs.values(), against=formula, budget=time_budget)
    figures.number(
        f"{what}: memory",
        [memory[0] / memory[1]],
        figures_lib.TIMES,
        against=f"{formula} ({memory[1] / 1e6:.3g} MB)",
        budget=memory_budget,
    )
