"""Warm workers: a run finds the process as a new one, and gives the same to the bit."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import textwrap

import pytest
from absl import flags

from kauldron import launch
from kauldron.cli import ckpt
from tests.launch import backend_contract

_CFG = "--cfg=examples/digits_classifier.py"
_SHORT = ("--cfg.num_train_steps=20", "--cfg.log_metrics_every=5")


class _Tasks:
    """Runs tasks one after the other in one process."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.backend = launch.Local(parallel=1)

    def run(self, name: str, *args: str, **env: str) -> int | None:
        task = self.task(name, *args, **env)
        return backend_contract.wait(self.backend, self.backend.start(task)).exit_code

    def task(self, name: str, *args: str, **env: str) -> launch.Task:
        always = {"PYTHONPATH": str(backend_contract.ROOT), "JAX_PLATFORMS": "cpu"}
        return launch.Task(
            name=name,
            args=(*args, f"--cfg.workdir={self.folder / name}"),
            workdir=str(self.folder / name),
            log=str(self.folder / f"{name}.log"),
            record=str(self.folder / f"{name}.json"),
            env={**always, "PYTEST_CURRENT_TEST": "", **env},
        )

    def pid(self, name: str) -> int:
        return json.loads((self.folder / f"{name}.json").read_text())["pid"]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(backend_contract.ROOT)
    tasks = _Tasks(tmp_path)
    yield tasks
    tasks.backend.close()


# Each run tells what it finds, and then changes it.
_MEDDLER = """
    import logging, os, random, signal, sys, warnings
    from absl import flags

    def get_config():
        found = {
            "cwd": os.getcwd(),
            "argv": sys.argv[1:-1],
            "handler": str(signal.getsignal(signal.SIGTERM)),
            "log_handlers": len(logging.getLogger().handlers),
            "path": "/nowhere" in sys.path,
            "filters": any("zzz" in str(f) for f in warnings.filters),
            "stdin": sys.stdin.read(),
            "flag": "meddled" in flags.FLAGS,
            "variable": os.environ.get("MEDDLED"),
        }
        print(f"FOUND {found}")
        os.chdir("/")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        logging.getLogger().addHandler(logging.NullHandler())
        sys.path.append("/nowhere")
        warnings.filterwarnings("ignore", message="zzz")
        if "--cfg.seed=2" in sys.argv:
            os.environ["MEDDLED"] = "1"
        sys.exit(0)
"""


def test_a_run_finds_nothing_that_the_one_before_has_changed(tasks, tmp_path):
    file = tmp_path / "meddler.py"
    file.write_text(textwrap.dedent(_MEDDLER))
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2), ("d", 1)):
        assert tasks.run(name, f"--cfg={file}", f"--cfg.seed={seed}") == 0
        (line,) = [x for x in tasks.log(name).splitlines() if x.startswith("FOUND")]
        found.append(line.replace("seed=2", "seed=1"))
    # Also behind the third run, whose variable can only be undone by a new process.
    assert len(set(found)) == 1
    assert "'variable': None" in found[0]
    assert tasks.pid("a") == tasks.pid("c")
    assert "A new process takes over: MEDDLED of the environment." in tasks.log("a")


@pytest.mark.slow
def test_a_module_that_was_edited_is_imported_anew(tasks, tmp_path):
    (tmp_path / "shared_by_runs.py").write_text("VALUE = 1\n")
    file = tmp_path / "user.py"
    file.write_text(
        "import sys, shared_by_runs\n"
        "def get_config():\n    sys.exit(shared_by_runs.VALUE)\n"
    )
    assert tasks.run("a", f"--cfg={file}") == 1
    (tmp_path / "shared_by_runs.py").write_text("VALUE = 23\n")
    assert tasks.run("b", f"--cfg={file}") == 23


@pytest.mark.slow
def test_a_warm_worker_gives_what_a_new_process_gives_to_the_bit(tasks, tmp_path):
    args = (_CFG, *_SHORT, "--cfg.seed=5")
    # Other shapes, another rate, another seed, a failure: all in the process before.
    assert tasks.run("w", _CFG, *_SHORT, "--cfg.aux.num_features=4") == 0
    rate = "--cfg.schedules.learning_rate.init_value=0.01"
    assert tasks.run("r", _CFG, *_SHORT, rate, "--cfg.seed=6") == 0
    assert tasks.run("f", _CFG, *_SHORT, "--cfg.model.inputs=batch.imag") == 2
    assert tasks.run("warm", *args) == 0
    assert len({tasks.pid(name) for name in ("w", "r", "f", "warm")}) == 1
    fresh = tasks.task("fresh", *args)
    subprocess.run(fresh.command, env=fresh.environment, check=True)
    rows = [(tmp_path / n / "metrics.jsonl").read_text() for n in ("warm", "fresh")]
    assert rows[0] == rows[1]
    assert _differences(tmp_path / "warm", tmp_path / "fresh") == 0
    assert _differences(tmp_path / "warm", tmp_path / "r") == 1


def _differences(a: pathlib.Path, b: pathlib.Path) -> int:
    argv = ["kauldron ckpt diff", os.fspath(a), os.fspath(b)]
    return ckpt.diff(argv, flag_values=flags.FlagValues())


@pytest.mark.slow
def test_a_setting_of_jax_that_a_run_leaves_ends_its_process(tasks, tmp_path):
    (tmp_path / "wide_numbers.py").write_text(
        "import jax\njax.config.update('jax_enable_x64', True)\n"
    )
    file = tmp_path / "wide.py"
    file.write_text(
        "import sys, wide_numbers, jax\n"
        "def get_config():\n    sys.exit(int(jax.config.jax_enable_x64))\n"
    )
    assert [tasks.run(name, f"--cfg={file}") for name in "ab"] == [1, 1]
    assert "jax_enable_x64 of JAX" in tasks.log("a")
