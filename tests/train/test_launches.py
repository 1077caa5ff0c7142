"""`workdir/launches/`: what each start of a run was started with."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

from kauldron import kd
from kauldron.workdir import launches
from tests.train import small_run


def test_each_start_of_a_run_is_recorded_with_the_step_it_continues_at(tmp_path):
    def start(num_train_steps):
        small_run.make_trainer(
            tmp_path,
            num_train_steps=num_train_steps,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=100),
        ).train()

    start(2)
    start(3)
    first, second = launches.read_all(tmp_path)
    assert (first["first_step"], second["first_step"]) == (0, 2)
    assert first["seed"] == 3
    assert first["command"] == [sys.executable, *sys.argv]
    assert first["packages"] == {
        x.metadata["Name"]: x.version for x in metadata.distributions()
    }
    assert first["devices"] == ["cpu:cpu"] * 8
    assert first["num_processes"] == 1
    changes = launches.describe_changes(
        tmp_path, backend=kd.sharding.describe_backend()
    )
    assert [c for c in changes if "uncommitted" not in c] == []


def _git(folder, *args):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *identity, *args]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commit_and_uncommitted_changes_are_kept(tmp_path, monkeypatch):
    repository, workdir = tmp_path / "repository", tmp_path / "run"
    repository.mkdir()
    workdir.mkdir()
    _git(repository, "init")
    (repository / "code.py").write_text("x = 1\n")
    _git(repository, "add", ".")
    _git(repository, "commit", "-m", "first")
    (repository / "code.py").write_text("x = 2\n")
    (repository / "other.py").write_text("y = 1\n")
    monkeypatch.chdir(repository)

    launches.write(_path(workdir), seed=0, first_step=0, backend={})

    (launch,) = launches.read_all(workdir)
    assert launch["git"] == {
        "commit": _git(repository, "rev-parse", "HEAD"),
        "has_uncommitted_changes": True,
        "untracked_files": ["other.py"],
    }
    patch = workdir / "launches" / "0.patch"
    _git(repository, "checkout", "code.py")
    _git(repository, "apply", str(patch))
    assert (repository / "code.py").read_text() == "x = 2\n"


def test_outside_of_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    launches.write(_path(tmp_path), seed=0, first_step=0, backend={})
    assert launches.read_all(tmp_path)[0]["git"] == {}
    assert not (tmp_path / "launches" / "0.patch").exists()


def test_what_changed_since_the_first_start_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    launches.write(
        _path(tmp_path), seed=0, first_step=0, backend=kd.sharding.describe_backend()
    )
    path = tmp_path / "launches" / "0.json"
    launch = json.loads(path.read_text())
    launch["packages"]["jax"] = "0.1"
    launch["devices"] = ["gpu:H100"]
    launch["git"] = {"commit": "abc", "has_uncommitted_changes": True}
    path.write_text(json.dumps(launch))
    assert launches.describe_changes(
        tmp_path, backend=kd.sharding.describe_backend()
    ) == [
        f"devices: ['gpu:H100'] then, {['cpu:cpu'] * 8} now",
        f"jax: 0.1 then, {metadata.version('jax')} now",
        "commit: abc then, None now",
        "there were uncommitted changes then: launches/0.patch",
    ]


def _path(path):
    from etils import epath

    return epath.Path(path)


def test_a_start_never_takes_the_number_of_another(tmp_path):
    for _ in range(3):
        launches.write(_path(tmp_path), seed=0, first_step=0, backend={})
    (tmp_path / "launches" / "1.json").unlink()
    launches.write(_path(tmp_path), seed=7, first_step=0, backend={})
    assert [launch["seed"] for launch in launches.read_all(tmp_path)] == [0, 0, 7]
