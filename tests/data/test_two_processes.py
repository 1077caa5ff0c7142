"""Two real JAX processes load the batches that one process loads."""

from __future__ import annotations

import json

import pytest

from tests.data import two_processes
from tests.train import processes as processes_lib


@pytest.mark.slow
def test_two_processes_see_the_batches_of_one(tmp_path):
    port = str(processes_lib.free_port())
    commands = [[two_processes.__file__, port, str(i)] for i in range(2)]
    with processes_lib.Processes(commands, tmp_path, num_devices=1) as processes:
        outputs = processes.finish()
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
