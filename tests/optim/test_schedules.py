"""Values of schedules at hand-worked steps: our own, and those we rely on optax for."""

from __future__ import annotations

import math

import numpy as np
import optax
import pytest

from kauldron import optim

pytestmark = pytest.mark.usefixtures("quick_compile")

WSD = {"peak_value": 2.0, "num_steps": 100, "warmup_steps": 10, "decay_steps": 20}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            optim.wsd_schedule(**WSD),
            {0: 0, 5: 1, 10: 2, 50: 2, 80: 2, 85: 1.5, 90: 1, 100: 0, 200: 0},
        ),
        (
            optim.wsd_schedule(**WSD, init_value=1.0, end_value=0.5, decay="cosine"),
            {0: 1, 5: 1.5, 79: 2, 90: 1.25, 85: 1.25 + 0.75 * math.sqrt(0.5), 100: 0.5},
        ),
        (
            optim.wsd_schedule(**WSD, decay="sqrt"),
            {80: 2, 85: 1, 95: 2 * (1 - math.sqrt(0.75)), 100: 0},
        ),
        (
            optim.wsd_schedule(1.0, num_steps=10, decay_steps=0),
            {0: 1, 9: 1, 10: 1, 11: 1},
        ),
        (
            optim.wsd_schedule(1.0, num_steps=4, decay_steps=4),
            {0: 1, 1: 0.75, 3: 0.25, 4: 0},
        ),
        # Warm-up and cosine.
        (
            optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 30, 0.0),
            {0: 0, 5: 0.5, 10: 1, 20: 0.5, 30: 0},
        ),
        # Restarts (SGDR): the second cycle begins at its own peak.
        (
            optax.sgdr_schedule(
                [
                    {
                        "init_value": 0.0,
                        "peak_value": peak,
                        "decay_steps": 10,
                        "warmup_steps": 2,
                    }
                    for peak in (1.0, 0.5)
                ]
            ),
            {0: 0, 2: 1, 6: 0.5, 10: 0, 12: 0.5, 16: 0.25, 20: 0},
        ),
        (optax.polynomial_schedule(1.0, 0.0, 2, 10), {0: 1, 5: 0.25, 10: 0}),
        (
            optax.piecewise_constant_schedule(1.0, {10: 0.1, 20: 0.5}),
            {0: 1, 9: 1, 11: 0.1, 21: 0.05},
        ),
    ],
)
def test_values(schedule, expected):
    got = {step: float(schedule(step)) for step in expected}
    np.testing.assert_allclose(
        list(got.values()), list(expected.values()), rtol=1e-5, atol=1e-6
    )


def test_parts_that_do_not_fit_into_the_run_are_told():
    with pytest.raises(ValueError, match=r"must fit into num_steps=10"):
        optim.wsd_schedule(1.0, num_steps=10, warmup_steps=6, decay_steps=5)
    with pytest.raises(ValueError, match=r"one of \['linear', 'cosine', 'sqrt'\]"):
        optim.wsd_schedule(1.0, num_steps=10, decay_steps=5, decay="exp")


@pytest.mark.parametrize(
    ("warmup_steps", "decay_steps", "fits"),
    [
        *[(-1, 0, False), (0, -1, False), (0, 0, True)],
        *[(10, 0, True), (11, 0, False), (0, 10, True), (6, 4, True), (6, 5, False)],
    ],
)
def test_warm_up_and_decay_may_take_the_whole_run_and_no_more(
    warmup_steps, decay_steps, fits
):
    parts = {"warmup_steps": warmup_steps, "decay_steps": decay_steps}
    if fits:
        optim.wsd_schedule(1.0, num_steps=10, **parts)
        return
    with pytest.raises(ValueError, match=r"must fit into num_steps=10"):
        optim.wsd_schedule(1.0, num_steps=10, **parts)
