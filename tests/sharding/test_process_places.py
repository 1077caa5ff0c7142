"""How a process is told which one of several it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kauldron import sharding
from kauldron._base import processes

_SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_PROCID": "1",
    "SLURM_NTASKS": "4",
}
_OMPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}
_TPU = {"TPU_WORKER_ID": "1", "TPU_WORKER_HOSTNAMES": "a,b"}
_KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "2"}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for variables in (_SLURM, _OMPI, _TPU, _KUBERNETES, {processes.VARIABLE: ""}):
        for name in variables:
            monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("address", ["localhost:1234", "[::1]:65535", "node-1.a:1"])
def test_a_place_is_read_as_it_is_written(address):
    place = processes.Place(address, 1, 4)
    assert str(place) == f"{address},1,4"
    assert processes.requested(str(place)) == place


def test_the_flag_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv(processes.VARIABLE, "localhost:1,0,2")
    assert processes.requested(None) == processes.Place("localhost:1", 0, 2)
    assert processes.requested("localhost:2,1,2").address == "localhost:2"
    assert processes.requested("off") is None


@pytest.mark.parametrize("flag", [None, "auto", "off", "localhost:1234,0,1"])
def test_a_process_of_its_own_is_alone(flag):
    assert processes.requested(flag) is None


@pytest.mark.parametrize(
    ("environ", "name", "index", "count"),
    [
        (_SLURM, "Slurm", 1, 4),
        (_OMPI, "Open MPI", 3, 4),
        (_TPU, "a TPU slice", 1, 2),
        # How many pods there are is known by JAX, which asks the cluster.
        (_KUBERNETES, "Kubernetes", 2, None),
    ],
)
def test_a_launcher_of_several_is_seen(monkeypatch, environ, name, index, count):
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    assert processes.requested("off") is None
    found = processes.requested("auto")
    assert found.method is None
    assert found.launcher[:3] == (name, index, count)


@pytest.mark.parametrize(
    "environ",
    [
        _SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        # A shell in an allocation has no step: nothing but this process was started.
        {k: v for k, v in _SLURM.items() if k != "SLURM_STEP_NODELIST"},
        _OMPI | {"OMPI_COMM_WORLD_SIZE": "1"},
        _TPU | {"TPU_WORKER_HOSTNAMES": "localhost"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},  # a notebook in a pod
    ],
)
def test_a_launcher_of_one_process_changes_nothing(environ):
    assert processes.launcher(environ) is None


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("aut", "--distributed='aut' is none of auto, off, .* Did you mean 'auto'?"),
        ("", "is none of auto, off"),
        ("localhost,0,2", "'localhost' is no HOST:PORT"),
        ("localhost:http,0,2", "'localhost:http' is no HOST:PORT"),
        ("localhost:70000,0,2", "1 to 65535"),
        (":1234,0,2", "':1234' is no HOST:PORT"),
        ("localhost:1234", "1 parts, HOST:PORT,INDEX,COUNT has three"),
        ("localhost:1234,0", "2 parts, HOST:PORT,INDEX,COUNT has three"),
        ("localhost:1234,2,2", "there is no process 2 of 2. .* from 0: 0 to 1"),
        ("localhost:1234,0,0", "there is no process 0 of 0"),
        ("localhost:1234,-1,2", "index '-1' and count '2' must be numbers"),
        ("localhost:1234,0,two", "count 'two' must be numbers"),
    ],
)
def test_a_flag_that_makes_no_sense_is_a_mistake(flag, message):
    with pytest.raises(processes.ProcessesError, match=message):
        processes.requested(flag)


def test_a_variable_that_makes_no_sense_is_named(monkeypatch):
    monkeypatch.setenv(processes.VARIABLE, "localhost:1,3,2")
    with pytest.raises(processes.ProcessesError, match="KAULDRON_DISTRIBUTED='localh"):
        processes.requested(None)


def test_a_launcher_that_jax_does_not_know_is_told(monkeypatch, tmp_path):
    # As version 5 of Open MPI does: the variable that JAX looks for is missing.
    for variable, value in _OMPI.items():
        monkeypatch.setenv(variable, value)
    requested = processes.requested(None)
    joined = sharding.joined_processes(
        requested, timeout_secs=9, workdir=tmp_path / "w"
    )
    message = r"Open MPI has started .* \(OMPI_COMM_WORLD_SIZE='4'\), but JAX cannot"
    with pytest.raises(processes.ProcessesError, match=message), joined:
        pass
    assert not (tmp_path / "w").exists()


def test_places_are_known_without_jax():
    code = "import sys, kauldron._base.processes; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
