"""What a Slurm job runs on each of its nodes: the processes, then the requeueing."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from kauldron.launch import _backend
from kauldron.launch.processes import _process_files, process_group
from kauldron.launch.slurm import _queue

STOP_FILE = "stop"

_FIRST_PORT, _NUM_PORTS = 49_152, 16_384  # the range for private use
_WAIT_FOR_OTHERS_SECS = 60.0
_POLL_SECS = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeEnd:
    """How the processes of one node ended.

    Attributes:
      node: Number of the node in the job.
      start: Which start of the job it was, counted from 0.
      exit_code: Of the processes.
      ended: When, seconds since 1970.
    """

    node: int
    start: int
    exit_code: int
    ended: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeTask:
    """The part of a task that a node runs; submitit calls it once on each node.

    After a signal the processes save and end with 75. Then the first node puts the job
    into the queue again, so that nobody has to watch it.

    Attributes:
      args: Arguments of `python -m kauldron.main`.
      env: Environment variables that are set.
      log: See `ProcessGroup`.
      state: Folder for what the nodes have to tell.
      num_processes: Of the whole run.
      gpus_per_node: How many GPUs each node has for it.
      max_restarts: How often the job is requeued at most.
    """

    args: tuple[str, ...]
    env: Mapping[str, str]
    log: str
    state: str
    num_processes: int
    gpus_per_node: int
    max_restarts: int

    def __call__(self) -> None:
        import submitit

        here = submitit.JobEnvironment()
        node, num_nodes = here.global_rank, here.num_tasks
        start = self._start(node, is_slurm=here.cluster == "slurm")
        if self._is_stopped():
            sys.exit(process_group.EXIT_INTERRUPTED)
        os.environ.update(self.env)
        num_local = self.num_processes // num_nodes
        group = process_group.ProcessGroup(
            args=self.args,
            log=self.log,
            records=self.state,
            num_processes=self.num_processes,
            num_local=num_local,
            first_index=node * num_local,
            coordinator=_coordinator(start) if num_nodes > 1 else "",
            gpus=self.gpus_per_node,
            start=start,
        )
        code = group.run()
        end = NodeEnd(node=node, start=start, exit_code=code, ended=time.time())
        _process_files.write(_file_of(self.state, node), dataclasses.asdict(end))
        if code == process_group.EXIT_INTERRUPTED and node == 0:
            if start >= self.max_restarts:
                group.tell(f"not started again: {start} restarts are the limit")
            elif not self._is_stopped():
                self._wait_for_others(start, num_nodes)
                group.tell("the job goes back into the queue, and will continue")
                _requeue(here)
        if code:
            sys.exit(code)

    def _start(self, node: int, *, is_slurm: bool) -> int:
        if is_slurm:
            return int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        last = _process_files.read(_file_of(self.state, node))
        return last["start"] + 1 if last else 0

    def _is_stopped(self) -> bool:
        return (pathlib.Path(self.state) / STOP_FILE).exists()

    def _wait_for_others(self, start: int, num_nodes: int) -> None:
        """Waits for the other nodes: requeueing ends them, and they may be writing."""
        deadline = time.monotonic() + _WAIT_FOR_OTHERS_SECS
        while len(read_ends(self.state, start)) < num_nodes:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECS)


def read_ends(state: str | os.PathLike[str], start: int | None = None) -> list[NodeEnd]:
    """Returns how the nodes of a job ended, the first to end first.

    Args:
      state: The folder of `NodeTask`.
      start: Of which start of the job; of the last one unless given.
    """
    files = pathlib.Path(state).glob("node_*.json")
    found = [NodeEnd(**fields) for f in files if (fields := _process_files.read(f))]
    start = max((e.start for e in found), default=0) if start is None else start
    return sorted((e for e in found if e.start == start), key=lambda e: e.ended)


def _file_of(state: str, node: int) -> pathlib.Path:
    return pathlib.Path(state) / f"node_{node}.json"


def _coordinator(start: int) -> str:
    """Returns `HOST:PORT` of process 0: the same on all nodes, other for each start.

    The first node runs the batch script, whose address Slurm tells all of them.
    """
    host = os.environ.get("SLURM_LAUNCH_NODE_IPADDR") or socket.gethostname()
    number = 61 * int(os.environ["SLURM_JOB_ID"]) + start
    return f"{host}:{_FIRST_PORT + number % _NUM_PORTS}"


def _requeue(here: Any) -> None:
    """Puts the job into the queue again; returns only if that fails."""
    if here.cluster != "slurm":  # submitit starts its tasks again after this code
        from submitit.local import local

        sys.exit(local.LOCAL_REQUEUE_RETURN_CODE)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # requeueing ends this process
    try:
        _queue.requeue(here.job_id)
    except (_queue.SlurmFailed, _backend.LaunchError) as e:
        print(f"The job could not be requeued: {e}", file=sys.stderr, flush=True)
        return
    time.sleep(_WAIT_FOR_OTHERS_SECS)
