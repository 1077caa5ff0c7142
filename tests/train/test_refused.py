"""What a run that is refused says of its workdir, and leaves there: nothing."""

from __future__ import annotations

import os
import pathlib
import tempfile

import pytest
from etils import epath

from kauldron import kd
from kauldron.cli import command_runner
from kauldron.workdir import lock
from tests.train import small_run


def _misspelt():
    return kd.losses.L2(preds="preds.logit", targets="batch.x")


def _train(trainer):
    return command_runner.run(trainer.train, argv=["kauldron train"])


@pytest.mark.parametrize("folder", ["run", "a/b/run"])
def test_refused_run_leaves_no_folder(tmp_path, folder):
    trainer = small_run.make_trainer(
        tmp_path / folder, train_losses={"bad": _misspelt()}
    )
    assert _train(trainer) == command_runner.EXIT_MISTAKE
    assert list(tmp_path.iterdir()) == []


def test_refusal_by_what_the_state_is_made_of_leaves_no_folder(tmp_path):
    loader = kd.ckpts.PartialKauldronLoader(
        workdir=tmp_path / "none", new_to_old={"params": "params"}
    )
    trainer = small_run.make_trainer(tmp_path / "run", init_transform=loader)
    assert _train(trainer) == command_runner.EXIT_MISTAKE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("files", [[], ["notes.txt"], [".lock"]])
def test_refused_run_leaves_a_folder_as_it_was(tmp_path, files):
    for name in files:
        (tmp_path / name).write_text("mine")
    trainer = small_run.make_trainer(tmp_path, train_losses={"bad": _misspelt()})
    assert _train(trainer) == command_runner.EXIT_MISTAKE
    assert [path.name for path in tmp_path.iterdir()] == files


def test_refused_run_leaves_what_another_process_has_put_there(tmp_path):
    class Writing(kd.train.Hook):
        def check(self, trainer):
            (trainer.workdir / "theirs").write_text("")
            raise kd.train.hooks.HookError("no")

    trainer = small_run.make_trainer(tmp_path / "run", hooks={"x": Writing()})
    assert _train(trainer) == command_runner.EXIT_MISTAKE
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["theirs"]


def test_lock_that_was_removed_while_it_was_waited_for_is_made_again(tmp_path):
    from kauldron._base import shared_files

    path = epath.Path(tmp_path) / ".lock"
    with shared_files.exclusive(path):
        path.unlink()
        with shared_files.exclusive(path, blocking=False):  # the other file is gone
            assert path.exists()


def test_run_that_fails_after_it_has_begun_leaves_its_status(tmp_path):
    class Failing(kd.train.Hook):
        def after_step(self, run, *, step, state, aux):
            raise RuntimeError("no")

    trainer = small_run.make_trainer(tmp_path / "run", hooks={"x": Failing()})
    assert _train(trainer) == command_runner.EXIT_FAILED
    assert (tmp_path / "run" / "status.json").exists()


def test_workdir_that_is_a_file_is_said_to_be_one(tmp_path, capfd):
    (tmp_path / "run").write_text("")
    assert (
        _train(small_run.make_trainer(tmp_path / "run")) == command_runner.EXIT_MISTAKE
    )
    err = capfd.readouterr().err
    assert (
        f"The workdir '{tmp_path}/run' cannot be written: it is a file, not a folder. "
        "Choose another with `--cfg.workdir=...`."
    ) in err
    assert (tmp_path / "run").read_text() == ""


def test_file_above_the_workdir_is_named(tmp_path, capfd):
    (tmp_path / "a").write_text("")
    assert (
        _train(small_run.make_trainer(tmp_path / "a/b/run"))
        == command_runner.EXIT_MISTAKE
    )
    err = capfd.readouterr().err
    assert f"cannot be written: '{tmp_path}/a' is a file, not a folder." in err


@pytest.fixture
def read_only():
    """A folder that may not be written: not below `tmp_path`, which others may not enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:  # may write everywhere
            os.seteuid(65534)
        yield folder
        os.seteuid(user)
        folder.chmod(0o755)


def test_folder_that_may_not_be_written_is_named(read_only):
    with pytest.raises(kd.train.WorkdirError) as error:
        lock.make_writable(epath.Path(read_only / "x" / "run"))
    assert (
        f"cannot be written: no folder can be made in '{read_only}' "
        "(Permission denied). Choose another"
    ) in str(error.value)


def test_workdir_that_may_not_be_written_says_so(read_only):
    with pytest.raises(kd.train.WorkdirError, match=r"written: Permission denied\."):
        lock.make_writable(epath.Path(read_only))


def test_checkpoints_that_are_a_file_are_said_to_be_one(tmp_path, capfd):
    (tmp_path / "checkpoints").write_text("")
    checkpointer = kd.ckpts.Checkpointer(save_interval_steps=5)
    trainer = small_run.make_trainer(tmp_path, checkpointer=checkpointer)
    assert _train(trainer) == command_runner.EXIT_MISTAKE
    err = capfd.readouterr().err
    assert f"'{tmp_path}/checkpoints' is a file, where a run has the folder" in err
    assert "Move it away, or choose another `--cfg.workdir=...`." in err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


_BEFORE = "Finished: {} is at step 10"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ". To train longer, raise `--cfg.num_train_steps`."),
        (
            {"num_train_steps": 4},
            ", beyond the 4 of `--cfg.num_train_steps`: nothing was trained. To train "
            "longer, raise that above 10; for a run of 4 steps, choose another "
            "`--cfg.workdir=...`.",
        ),
        (
            {"num_train_steps": 20, "stop_after_steps": 10},
            ". To train longer, raise `--cfg.stop_after_steps`.",
        ),
        (
            {"num_train_steps": 20, "stop_after_steps": 3},
            ", beyond the 3 of `--cfg.stop_after_steps`: nothing was trained. To train "
            "longer, raise that above 10; for a run of 3 steps, choose another "
            "`--cfg.workdir=...`.",
        ),
        (
            {
                "num_train_steps": None,
                "train_ds": small_run.make_ds(num_epochs=2, batch_size=8),
            },
            ". To train longer, raise `num_epochs` of `--cfg.train_ds`.",
        ),
    ],
)
def test_finished_run_says_what_would_let_it_train_longer(
    finished, capfd, changes, message
):
    finished.replace(**changes).train()
    err = capfd.readouterr().err
    assert f"{_BEFORE.format(finished.workdir)}{message}" in err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is at its last step, 10."""
    checkpointer = kd.ckpts.Checkpointer(save_interval_steps=10)
    trainer = small_run.make_trainer(
        tmp_path_factory.mktemp("finished"), checkpointer=checkpointer
    )
    trainer.train()
    return trainer
