"""What looking up a key costs.

make bench
"""

from __future__ import annotations

import subprocess
import sys

import flax.struct
import numpy as np
import pytest

from kauldron import kontext
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench


@flax.struct.dataclass
class Context:
    batch: object
    interms: object = None


CONTEXT = Context(
    batch={"image": np.zeros(3)}, interms={"encoder": {"__call__": (1, 2)}}
)


@pytest.mark.parametrize("path", ["batch.image", "interms.encoder.__call__[0]"])
def test_looking_up_a_path(figures, path):
    secs = clocks.of_one(lambda: kontext.get_by_path(CONTEXT, path), number=20_000)
    figures.number(
        f"looking up {path!r}, processor time",
        [s.processor * 1e6 for s in secs],
        "µs",
        budget=5,
    )


def test_importing_kontext_is_light(figures):
    def process(code):
        command = [sys.executable, "-c", code]
        return clocks.timed(lambda: subprocess.run(command, check=True))

    secs = clocks.in_turn(
        {"with": process("from kauldron import kontext"), "without": process("pass")}
    )
    figures.number(
        "`from kauldron import kontext`, a process more than an empty one, processor time",
        [
            (a.processor - b.processor) * 1e3
            for a, b in zip(secs["with"], secs["without"], strict=True)
        ],
        "ms",
        budget=150,
    )
