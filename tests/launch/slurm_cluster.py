"""A Slurm cluster on this machine: two nodes that are one, for tests and for trying out.

    python -m tests.launch.slurm_cluster FOLDER

starts it, prints how to use it, and ends it with Ctrl-C. Needs Debian's `slurm-wlm`
(`apt-get install slurm-wlm`), nothing of its configuration: munge, controller and nodes
are this program's children, have their files in FOLDER, and listen on 127.0.0.1.

Partitions: `main`, and `urgent`, whose jobs preempt those of `main`: after 20 s of grace
these are requeued.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

NODES = ("node1", "node2")
CPUS_PER_NODE = 2
GRACE_SECS = 20

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "sinfo", "squeue")

# A requeued job waits for `cred_expire`, two minutes unless set (to 5 s at least).
_CONFIG = """
ClusterName=kauldron
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus}
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime={grace}
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


def missing_programs() -> list[str]:
    """Returns what has to be installed before a cluster can be started."""
    return [name for name in _PROGRAMS if _find(name) is None]


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[dict[str, str]]:
    """Runs a cluster inside the block.

    Args:
      folder: Gets its files; its path must be short, as it holds a socket.

    Yields:
      The environment variables by which Slurm's commands find it.
    """
    config = _write_files(folder)
    variables = {"SLURM_CONF": os.fspath(config)}
    with contextlib.ExitStack() as stack:
        munge = [f"--{name}={folder}/{file}" for name, file in _MUNGE_FILES.items()]
        stack.enter_context(_child(folder, "munged", "--foreground", *munge))
        _wait_until((folder / "munge.socket").exists, folder)
        stack.enter_context(
            _child(folder, "slurmctld", "-D", "-i", "-f", str(config), **variables)
        )
        for node in NODES:
            stack.enter_context(
                _child(
                    folder, "slurmd", "-D", "-N", node, "-f", str(config), **variables
                )
            )
        _wait_until(lambda: _num_idle(variables) == len(NODES), folder)
        stack.callback(_end_jobs, variables, folder)
        yield variables


_MUNGE_FILES = {
    "socket": "munge.socket",
    "key-file": "munge.key",
    "pid-file": "munged.pid",
    "log-file": "munged.log",
    "seed-file": "munged.seed",
}


def _write_files(folder: pathlib.Path) -> pathlib.Path:
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # munge refuses others
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    config = folder / "slurm.conf"
    config.write_text(
        _CONFIG.format(
            folder=folder,
            host=socket.gethostname(),
            user=getpass.getuser(),
            nodes=NODES,
            cpus=CPUS_PER_NODE,
            ports=_free_ports(3),
            grace=GRACE_SECS,
        )
    )
    return config


def _free_ports(num: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


@contextlib.contextmanager
def _child(folder: pathlib.Path, name: str, *args: str, **env: str) -> Iterator[None]:
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            [_find(name) or name, *args],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _end_jobs(variables: dict[str, str], folder: pathlib.Path) -> None:
    """Ends what runs: without its controller, a job would run on for ever."""
    env = {**os.environ, **variables}
    user = f"--user={getpass.getuser()}"
    subprocess.run(["scancel", user], env=env, check=False)
    subprocess.run(["scancel", "--signal=KILL", user], env=env, check=False)
    _wait_until(lambda: _num_idle(variables) == len(NODES), folder)


def _num_idle(variables: dict[str, str]) -> int:
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--partition=main", "--format=%T"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split().count("idle")


def _wait_until(condition, folder: pathlib.Path, timeout_secs: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_secs
    while not condition():
        if time.monotonic() > deadline:
            output = (folder / "output.txt").read_text()[-3000:]
            raise RuntimeError(f"The cluster does not start:\n{output}")
        time.sleep(0.1)


def main() -> None:
    """Runs a cluster until Ctrl-C."""
    if missing := missing_programs():
        sys.exit(f"Missing: {', '.join(missing)}. apt-get install slurm-wlm")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up, as for Ctrl-C
    with running(pathlib.Path(sys.argv[1]).absolute()) as variables:
        for name, value in variables.items():
            print(f"export {name}={value}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
