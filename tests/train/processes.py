"""Starts the processes of one run, as a cluster does, and ends them in any case."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from tests import devices

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "tests/train/processes_config.py"


class Processes:
    """Processes that belong together; whatever is left of them is killed at the end.

    Args:
      commands: What follows `python`, for each.
      folder: Where their output is written.
      num_devices: Simulated devices of each.
      env: More variables.
    """

    def __init__(self, commands, folder, *, num_devices=2, env=()):
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": devices.xla_flags(num_devices),
            **dict(env),
        }
        self._logs = [
            folder / f"{time.monotonic_ns()}.{i}.log" for i in range(len(commands))
        ]
        self._all = []
        try:
            for command, log in zip(commands, self._logs, strict=True):
                with log.open("w") as output:
                    self._all.append(
                        subprocess.Popen(
                            [sys.executable, *command],
                            env=env,
                            cwd=ROOT,
                            stdin=subprocess.DEVNULL,
                            stdout=output,
                            stderr=subprocess.STDOUT,
                        )
                    )
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for process in self._all:
            process.kill()
            process.wait()

    def wait(self, timeout=400):
        """Returns the exit codes; a process that is not done in time fails the test."""
        until = time.monotonic() + timeout
        codes = []
        for i, process in enumerate(self._all):
            try:
                codes.append(process.wait(max(until - time.monotonic(), 0.1)))
            except subprocess.TimeoutExpired:
                raise AssertionError(
                    f"Process {i} runs after {timeout} s:\n{self.log(i)}"
                ) from None
        return codes

    def finish(self, timeout=400):
        """Waits until all have done their work; returns their output."""
        codes = self.wait(timeout)
        logs = [self.log(i) for i in range(len(codes))]
        assert codes == [0] * len(codes), "\n\n".join(logs)
        return logs

    def log(self, index):
        """What a process has written so far."""
        return self._logs[index].read_text(errors="replace")

    def wait_until(self, is_so, timeout=400):
        """Waits until something is so; the processes go on."""
        until = time.monotonic() + timeout
        while not is_so():
            assert time.monotonic() < until, [
                self.log(i) for i in range(len(self._all))
            ]
            time.sleep(0.05)

    def send(self, index, signum=signal.SIGKILL):
        """Sends a signal to one of them."""
        self._all[index].send_signal(signum)


def free_port():
    """A port at which nobody listens."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def start(program, workdir, num_processes, *arguments):
    """Runs a program in several processes, which have four devices together.

    It gets the workdir, the number of processes, its index and a port to meet at.
    """
    port = free_port()
    commands = [
        ["-c", program, str(workdir), str(num_processes), str(i), str(port), *arguments]
        for i in range(num_processes)
    ]
    folder = pathlib.Path(workdir).parent
    return Processes(commands, folder, num_devices=4 // num_processes)


def train(workdir, num_processes, *arguments, num_devices=4, each=(), env=()):
    """Starts `python -m kauldron.main` in several processes.

    Args:
      workdir: Of the run.
      num_processes: How many.
      *arguments: Of each of them.
      num_devices: Of all of them together.
      each: Process -> more arguments.
      env: More variables.
    """
    port, each = free_port(), dict(each)
    commands = [
        [
            *("-m", "kauldron.main", f"--cfg={CONFIG}", f"--cfg.workdir={workdir}"),
            f"--distributed=localhost:{port},{i},{num_processes}",
            *(*arguments, *each.get(i, ())),
        ]
        for i in range(num_processes)
    ]
    folder = pathlib.Path(workdir).parent
    per_process = num_devices // num_processes
    return Processes(commands, folder, num_devices=per_process, env=env)
