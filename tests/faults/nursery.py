"""A process that has imported everything, and forks a child for each run.

A fork takes milliseconds where imports take seconds. It is safe as long as JAX has not
started its devices in the parent: only the children do.

It reads a line of JSON per run and answers with a line of JSON: exit status and output.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]


class Nursery:
    """Starts runs in children of a process that has imported everything.

    Args:
      num_devices: Simulated devices of the runs.
      cache: Folder of compiled programs, shared by the runs.
    """

    def __init__(self, *, num_devices: int, cache: pathlib.Path) -> None:
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            cwd=ROOT,
            text=True,
        )

    def run(self, **request: Any) -> dict[str, Any]:
        """Runs `_child` with a request; returns `{"exit": ..., "output": ...}`.

        `exit` is the exit code, or minus the number of the signal that ended it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _serve() -> None:
    # Answers go where stdout was; whatever a run prints goes elsewhere.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as output:
            pid = os.fork()
            if pid == 0:
                _become_child(request, output.fileno())
            _, status = os.waitpid(pid, 0)
            output.seek(0)
            answer = {
                "exit": os.waitstatus_to_exitcode(status),
                "output": output.read().decode(errors="replace"),
            }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _import_everything() -> None:
    import orbax.checkpoint
    import tensorboardX  # noqa: F401

    from kauldron import kd
    from tests.faults import killers, runs  # noqa: F401

    for name in ("train", "ckpts", "data", "evals", "losses", "metrics", "optim"):
        dir(getattr(kd, name))
    del orbax


def _become_child(request: dict[str, Any], output: int) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        _child(**request)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _child(
    *,
    name: str,
    workdir: str,
    kill: dict[str, Any] | None = None,
    report: str | None = None,
) -> None:
    from kauldron import kd
    from tests.faults import killers, runs

    hooks: dict[str, Any] = {}
    if kill is not None:
        killer = killers.Killer(killers.Kill(**kill), pathlib.Path(report or ""))
        hooks["killer"] = killers.hook(killer.before_step)
    try:
        runs.RUNS[name](workdir, hooks).train()
    except kd.train.TrainingInterrupted as e:
        print(e, file=sys.stderr)
        os._exit(75)


if __name__ == "__main__":
    _serve()
