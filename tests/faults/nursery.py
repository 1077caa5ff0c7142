"""A process that has imported everything, and forks a child for each run.

A fork takes milliseconds where imports take seconds. It is safe as long as JAX has not
started its devices in the parent: only the children do.

It reads a line of JSON per run and answers with a line of JSON: exit status and output.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback
from typing import Any

from tests import devices
from tests.train import processes as processes_lib

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
            "KAULDRON_TYPECHECKING": "",  # other tests check; here it takes seconds
            "XLA_FLAGS": devices.xla_flags(num_devices),
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


class Together:
    """Starts runs of several processes, as `Nursery` does those of one.

    When one of them dies, the others are killed as well, as clusters do.

    Args:
      num_processes: How many.
      num_devices: Simulated devices of each.
      cache: Folder of compiled programs, shared by the runs.
    """

    def __init__(
        self, *, num_processes: int, num_devices: int, cache: pathlib.Path
    ) -> None:
        self._num_kills = 0
        self._stack = contextlib.ExitStack()
        self._nurseries = [
            self._stack.enter_context(Nursery(num_devices=num_devices, cache=cache))
            for _ in range(num_processes)
        ]

    def run(
        self, *, workdir: str, kill: dict[str, Any] | None = None, **request: Any
    ) -> dict[str, Any]:
        """Runs `_child` in each; `exit` is that of the first one that failed, if any.

        `output` is that of all, the first process first.
        """
        count = len(self._nurseries)
        # The first process alone makes and renames folders.
        victim = self._num_kills % count if kill and kill["phase"] == "anywhere" else 0
        self._num_kills += kill is not None
        port = processes_lib.free_port()
        pids = [pathlib.Path(f"{workdir}.pid{i}") for i in range(count)]
        for pid in pids:
            pid.unlink(missing_ok=True)

        def run(index: int) -> dict[str, Any]:
            return self._nurseries[index].run(
                workdir=workdir,
                kill=kill if index == victim else None,
                place=f"localhost:{port},{index},{count}",
                pid_file=str(pids[index]),
                **request,
            )

        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(run, i) for i in range(count)]
            first = next(concurrent.futures.as_completed(futures)).result()
            if first["exit"]:
                _, running = concurrent.futures.wait(futures, timeout=5)
                for future in running:
                    pid = int(pids[futures.index(future)].read_text())
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            answers = [future.result() for future in futures]
        failed = [a["exit"] for a in (answers[victim], first, *answers) if a["exit"]]
        outputs = "".join(answer["output"] for answer in answers)
        return {"exit": failed[0] if failed else 0, "output": outputs}

    def __enter__(self) -> Together:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def _serve() -> None:
    # Answers go where stdout was; whatever a run prints goes elsewhere.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_everything()
    gc.freeze()  # what is imported is looked at by no child
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
    place: str | None = None,
    pid_file: str | None = None,
) -> None:
    import jax

    from kauldron import kd, sharding
    from kauldron._base import processes
    from tests.faults import killers, runs

    if place is not None and pid_file is not None:
        pathlib.Path(pid_file).write_text(str(os.getpid()))
        requested = processes.requested(place)
        assert requested is not None
        joined = sharding.joined_processes(requested, timeout_secs=60, workdir=workdir)
    else:
        joined = contextlib.nullcontext()

    hooks: dict[str, Any] = {}
    if kill is not None:
        killer = killers.Killer(killers.Kill(**kill), pathlib.Path(report or ""))
        hooks["killer"] = killers.hook(killer.before_step)
    try:
        with joined:
            runs.RUNS[name](workdir, hooks).train()
        if place is not None:
            jax.distributed.shutdown()
    except kd.train.TrainingInterrupted as e:
        print(e, file=sys.stderr)
        os._exit(75)


if __name__ == "__main__":
    _serve()
