"""Processes that say when they have made their first step."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Mapping, Sequence

from tests.benchmarks import clocks


def environment() -> dict[str, str]:
    """Returns the variables that a user has: those of the tests are not among them."""
    kept = ("JAX_PLATFORMS",)
    own = ("JAX_", "KAULDRON_", "XLA_FLAGS", "PYTHONDONTWRITEBYTECODE")
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(own)
    }


def start(
    command: Sequence[str], env: Mapping[str, str], line: str
) -> tuple[clocks.Secs, float]:
    """Runs a program; returns seconds until a line appears, and its peak memory in MiB.

    Args:
      command: The program and its arguments.
      env: All of its variables.
      line: What a line of its output has when the first step is done.
    """
    begin, secs, lines = clocks.now(), None, []
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for text in process.stdout:
        lines.append(text)
        if line in text and secs is None:  # a progress bar may be before it
            stat = pathlib.Path(f"/proc/{process.pid}/stat").read_text()
            ticks = sum(map(int, stat.rpartition(")")[2].split()[11:13]))
            processor = ticks / os.sysconf("SC_CLK_TCK")
            secs = clocks.Secs(clocks.since(begin).wall, processor)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert not process.returncode and secs, "".join(lines)
    return secs, usage.ru_maxrss / 1024
