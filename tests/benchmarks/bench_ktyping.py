"""What `@typechecked` adds to a call.

make bench
"""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import ktyping as kt
from kauldron import losses, metrics
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench


@kt.typechecked
def scale(
    x: kt.Float["*b h w c"], factor: kt.Float["*#b c"], mask: kt.Bool["*b h w 1"] | None
) -> kt.Float["*b h w c"]:
    return x


def _microseconds_more(checked, plain, number=2000):
    """Returns the processor time of a call beyond that of the plain function, by round."""
    rounds = zip(
        clocks.of_one(checked, number=number),
        clocks.of_one(plain, number=number),
        strict=True,
    )
    return [(a.processor - b.processor) * 1e6 for a, b in rounds]


@pytest.mark.parametrize("numpy_like", [np, jnp], ids=["numpy", "jax"])
def test_eager_call_of_three_arguments(figures, numpy_like):
    x = numpy_like.ones((2, 8, 8, 3), "float32")
    args = (x, x[:, 0, 0], x[..., :1] > 0)
    figures.number(
        f"type-checked eager call, three arguments of {numpy_like.__name__}",
        _microseconds_more(lambda: scale(*args), lambda: scale.__wrapped__(*args)),
        "µs",
        budget=100,
    )


def test_switched_off(figures):
    x = np.ones((2, 8, 8, 3), np.float32)
    with kt.Config(typechecking_enabled=False):
        more = _microseconds_more(
            lambda: scale(x, x, mask=None),
            lambda: scale.__wrapped__(x, x, mask=None),
            number=20_000,
        )
    figures.number("the same, checks switched off", more, "µs", budget=1)


def test_functions_of_the_package_are_themselves():
    for function in (losses.L2.get_values, metrics.AverageState.mean):
        assert not hasattr(function, "__wrapped__")


def test_import_for_annotations(figures):
    program = (
        "import time\n"
        "start = time.process_time()\n"
        "import flax.struct, jax.numpy, optax\n"
        "from kauldron import kontext\n"
        "before = time.process_time()\n"
        "from kauldron import ktyping\n"
        "own = time.process_time() - before\n"
        "from kauldron import losses\n"
        "print(own / (time.process_time() - start))\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        for _ in range(5)
    ]
    figures.number(
        "`kauldron.ktyping` as a share of importing `kauldron.losses`, processor time",
        [float(run.stdout) * 100 for run in runs],
        "%",
        budget=6,
    )


def test_nothing_is_checked_after_tracing():
    calls = []

    @jax.jit
    @kt.typechecked
    def f(x: kt.Float["b n"]) -> kt.Float["b n"]:
        calls.append(1)
        return x + 1

    x = jnp.ones((2, 3))
    for _ in range(5):
        f(x)
    assert calls == [1]
