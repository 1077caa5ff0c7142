"""A program that ends in the middle of a pipeline with workers leaves nothing behind."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

_PROGRAM = """
import os, signal, sys
import numpy as np
from kauldron import kd

class Source:
    def __len__(self):
        return 1000

    def __getitem__(self, index):
        return {"x": np.full((300, 300), index, np.uint8), "worker": os.getpid()}

def main():
    global batches, batch
    batches = iter(kd.data.py.DataSource(
        Source(), shuffle=False, batch_size=4, seed=0, num_workers=1
    ))
    next(batches)
    batch = next(batches)  # kept, as is the iterator
    assert batch["x"][:, 0, 0].tolist() == [4, 5, 6, 7]
    batch["x"][0] = 9  # the batch is the program's own
    print(batch["worker"][0], batches._runner._iterator._folder, flush=True)
    if sys.argv[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "interrupt":
        signal.raise_signal(signal.SIGINT)
    if sys.argv[1] == "terminate":
        signal.raise_signal(signal.SIGTERM)
    if sys.argv[1] == "exit":
        sys.exit(3)
    if sys.argv[1] == "fail":
        raise ValueError("a step failed")

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("return", 0, []),
        pytest.param(
            "interrupt",
            -signal.SIGINT,
            ["Traceback", "KeyboardInterrupt"],
            marks=pytest.mark.slow,
        ),
        pytest.param("kill", -signal.SIGKILL, [], marks=pytest.mark.slow),
        pytest.param("terminate", -signal.SIGTERM, [], marks=pytest.mark.slow),
        pytest.param("exit", 3, [], marks=pytest.mark.slow),
        pytest.param("fail", 1, ["Traceback", "ValueError"], marks=pytest.mark.slow),
    ],
)
def test_nothing_is_left_and_nothing_is_said(tmp_path, how, code, said):
    (tmp_path / "program.py").write_text(_PROGRAM)
    root = str(pathlib.Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), how],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert result.returncode == code, result.stderr
    worker, folder = result.stdout.split()
    starts = [line for line in result.stderr.splitlines() if not line.startswith(" ")]
    unexpected = [x for x in starts if not any(word in x for word in said)]
    assert unexpected == []
    deadline = time.monotonic() + 20
    while _is_running(int(worker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(int(worker))
    assert not os.path.exists(folder)


def _is_running(process: int) -> bool:
    try:
        status = pathlib.Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
