"""What looking up a key costs.

make bench
"""

from __future__ import annotations

import subprocess
import sys
import timeit

import flax.struct
import numpy as np
import pytest

from kauldron import kontext

pytestmark = pytest.mark.bench


@flax.struct.dataclass
class Context:
    batch: object
    interms: object = None


CONTEXT = Context(
    batch={"image": np.zeros(3)}, interms={"encoder": {"__call__": (1, 2)}}
)


def _microseconds(func, number=20_000):
    return min(timeit.repeat(func, number=number, repeat=7)) / number * 1e6


@pytest.mark.parametrize("path", ["batch.image", "interms.encoder.__call__[0]"])
def test_looking_up_a_path(path):
    cost = _microseconds(lambda: kontext.get_by_path(CONTEXT, path))
    print(f"{path}: {cost:.2f} µs")
    assert cost <= 5


def test_importing_kontext_is_light():
    def seconds(code):
        command = [sys.executable, "-c", code]
        return min(
            timeit.repeat(
                lambda: subprocess.run(command, check=True), number=1, repeat=5
            )
        )

    cost = seconds("from kauldron import kontext") - seconds("pass")
    print(f"from kauldron import kontext: {cost * 1e3:.0f} ms")
    assert cost <= 0.15
