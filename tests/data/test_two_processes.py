"""Two real JAX processes load the batches that one process loads."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from tests.data import two_processes

_SCRIPT = pathlib.Path(two_processes.__file__)


@pytest.mark.slow
def test_two_processes_see_the_batches_of_one():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "XLA_FLAGS": "",
        "PYTHONPATH": str(_SCRIPT.parents[2]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(_SCRIPT), str(port), str(i)],
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        for i in range(2)
    ]
    outputs = [p.communicate(timeout=120)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    seen = [
        json.loads(next(x for x in out.splitlines() if x.startswith("SEEN "))[5:])
        for out in outputs
    ]
    for name, ds in two_processes.pipelines().items():
        expected = [batch["x"].tolist() for batch in ds]
        left, right = seen[0][name], seen[1][name]
        assert len(left) == len(right) == len(expected)
        for a, b, xs in zip(left, right, expected, strict=True):
            assert a["shape"] == b["shape"] == [len(xs)]
            assert a["sum"] == b["sum"] == sum(xs)
            assert set(a["local"]) | set(b["local"]) == set(xs)
            if len(xs) == 4:  # a whole batch is shared
                assert not set(a["local"]) & set(b["local"])
