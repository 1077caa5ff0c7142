"""`Local`: processes of this machine."""

from __future__ import annotations

import pytest

from kauldron import launch
from kauldron.launch import _backend_choice, _local
from tests.launch import backend_contract


class TestLocal(backend_contract.BackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls):
        return lambda: _local.Local(parallel=2)


def test_backends_are_found_by_their_names():
    names = {"local": "Local", "commands": "Commands", "slurm": "Slurm"}
    made = {n: type(_backend_choice.by_name(n)).__name__ for n in names}
    assert made == names


def test_a_task_of_several_processes_is_refused(tmp_path):
    task = launch.Task(
        name="a",
        args=(),
        workdir=str(tmp_path),
        log=str(tmp_path / "a.log"),
        record=str(tmp_path / "a.json"),
        num_processes=2,
    )
    with pytest.raises(launch.LaunchError, match="wants 2: `kauldron launch"):
        launch.Local().start(task)
    assert not list(tmp_path.iterdir())
