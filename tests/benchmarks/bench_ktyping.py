"""What `@typechecked` adds to a call.

make bench
"""

from __future__ import annotations

import subprocess
import sys
import timeit

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import ktyping as kt
from kauldron import losses, metrics

pytestmark = pytest.mark.bench


@kt.typechecked
def scale(
    x: kt.Float["*b h w c"], factor: kt.Float["*#b c"], mask: kt.Bool["*b h w 1"] | None
) -> kt.Float["*b h w c"]:
    return x


def _microseconds(func, number=2000):
    return min(timeit.repeat(func, number=number, repeat=7)) / number * 1e6


@pytest.mark.parametrize("numpy_like", [np, jnp], ids=["numpy", "jax"])
def test_eager_call_of_three_arguments(numpy_like):
    x = numpy_like.ones((2, 8, 8, 3), "float32")
    args = (x, x[:, 0, 0], x[..., :1] > 0)
    cost = _microseconds(lambda: scale(*args))
    cost -= _microseconds(lambda: scale.__wrapped__(*args))
    print(f"checked eager call ({numpy_like.__name__}): {cost:.1f} µs")
    assert cost <= 100


def test_switched_off():
    x = np.ones((2, 8, 8, 3), np.float32)
    with kt.Config(typechecking_enabled=False):
        cost = _microseconds(lambda: scale(x, x, mask=None))
    cost -= _microseconds(lambda: scale.__wrapped__(x, x, mask=None))
    print(f"switched off: {cost:.2f} µs")
    assert cost <= 1


def test_functions_of_the_package_are_themselves():
    for function in (losses.L2.get_values, metrics.AverageState.mean):
        assert not hasattr(function, "__wrapped__")


def test_import_for_annotations():
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
    share = min(float(run.stdout) for run in runs)
    print(f"ktyping is {share:.1%} of the import of kauldron.losses")
    assert share <= 0.06


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
