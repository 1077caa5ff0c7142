"""Starts the processes of one run, as a cluster does."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def start(program, workdir, num_processes, *arguments):
    """Runs a program in several processes, which have four devices together.

    It gets the workdir, the number of processes, its index and a port to meet at.
    """
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    devices = 4 // num_processes
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-c", program, str(workdir)),
                *(str(num_processes), str(i), str(port), *arguments),
            ],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(num_processes)
    ]
