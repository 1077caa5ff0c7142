"""Damaged files: found, named, and an older step is used. Never silently wrong."""

from __future__ import annotations

import gc
import json
import os
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.checkpoints.test_checkpointer import Counter, Run
from tests.train import small_run


def _truncate(path: pathlib.Path, num_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:num_bytes])


def _flip_a_byte(path: pathlib.Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _make_unreadable(path: pathlib.Path) -> None:
    # Reading this at offset 0 fails with "Input/output error", also for root.
    path.unlink()
    path.symlink_to("/proc/self/mem")


_DAMAGES = {
    "empty": lambda path: _truncate(path, 0),
    "half": lambda path: _truncate(path, path.stat().st_size // 2),
    "flipped": _flip_a_byte,
    "deleted": pathlib.Path.unlink,
    "unreadable": _make_unreadable,
}
# Nothing is read from them.
_IRRELEVANT = ("_CHECKPOINT_METADATA", "commit_success.txt")


def _run(value: int, counter: Counter | None = None) -> Run:
    arrays = {"w": value + jnp.arange(600.0), "step": jnp.int32(value)}
    return Run(arrays, counter or Counter(value))


def _checkpointer(workdir, **kwargs):
    return kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1, **kwargs)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("template")
    with _checkpointer(workdir) as checkpointer:
        for step in (5, 10):
            checkpointer.save(_run(step), step=step, metrics={"test": {"loss": step}})
    return workdir


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() or p.is_symlink())


def _restore(workdir) -> int:
    """Restores the newest step that is good; returns it, all of it checked."""
    counter = Counter()
    restored = _checkpointer(workdir).restore(_run(0, counter))
    step = int(restored.arrays["step"])
    assert counter.n == step
    np.testing.assert_array_equal(
        restored.arrays["w"], step + np.arange(600, dtype=np.float32)
    )
    return step


@pytest.mark.parametrize("damage", _DAMAGES)
def test_any_damage_to_any_file_is_harmless_or_named(
    template, tmp_path, capsys, damage
):
    names = [p.relative_to(template) for p in _files(template / "checkpoints/ckpt_10")]
    assert len(names) >= 12
    fallbacks = 0
    for i, name in enumerate(names):
        workdir = tmp_path / str(i)
        shutil.copytree(template, workdir, symlinks=True)
        _DAMAGES[damage](workdir / name)
        before = _files(workdir)
        step = _restore(workdir)
        said = capsys.readouterr().err
        if step == 5:
            fallbacks += 1
            in_step = name.relative_to("checkpoints/ckpt_10")
            assert "checkpoint of step 10 is damaged" in said
            assert f"\n  {in_step}: " in said
        else:
            # What nothing is read from; and without checksums all is as it was.
            is_checksums = damage == "deleted" and name.name == "checksums.json"
            assert name.name in _IRRELEVANT or is_checksums
            assert not said
        assert _files(workdir) == before  # nothing is deleted
    assert fallbacks >= 8


# When a read fails, Orbax (0.12) closes its event loop and leaves the reads of other arrays
# as they are. That they end is told of when they are collected, which is to be here.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["empty", "half", "deleted", "unreadable"])
def test_checkpoint_without_checksums_falls_back_if_it_cannot_be_read(
    template, tmp_path, damage
):
    names = [p.relative_to(template) for p in _files(template / "checkpoints/ckpt_10")]
    steps = []
    for i, name in enumerate(names):
        if name.name == "checksums.json":
            continue
        workdir = tmp_path / str(i)
        shutil.copytree(template, workdir, symlinks=True)
        (workdir / "checkpoints/ckpt_10/checksums.json").unlink()
        _DAMAGES[damage](workdir / name)
        steps.append(_restore(workdir))  # values are checked
    gc.collect()
    assert 5 in steps


def test_damaged_step_is_moved_aside_when_it_is_reached_again(template, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(template, workdir)
    checkpoints = workdir / "checkpoints"
    for aside in ("ckpt_10.damaged", "ckpt_10.damaged.1"):
        with _checkpointer(workdir) as checkpointer:
            _flip_a_byte(checkpoints / "ckpt_10/state/manifest.ocdbt")
            bad = (checkpoints / "ckpt_10/state/manifest.ocdbt").read_bytes()
            assert int(checkpointer.restore(_run(0)).arrays["step"]) == 5
            assert checkpointer.latest_step == 5
            assert checkpointer.save(_run(7), step=7)
            checkpointer.wait_until_finished()
            assert (checkpoints / "ckpt_10").exists()  # not reached yet
            assert checkpointer.save(_run(10), step=10)
            checkpointer.wait_until_finished()
            assert (checkpoints / aside / "state/manifest.ocdbt").read_bytes() == bad
            assert list(checkpointer.all_steps) == [5, 7, 10]
            checkpointer.delete(7)
        assert _restore(workdir) == 10


def test_damaged_steps_neither_count_nor_go(template, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(template, workdir)
    _flip_a_byte(workdir / "checkpoints/ckpt_10/state/_METADATA")
    with _checkpointer(workdir, max_to_keep=1) as checkpointer:
        checkpointer.restore(_run(0))
        checkpointer.save(_run(6), step=6)
    assert {p.name for p in (workdir / "checkpoints").iterdir()} == {
        "ckpt_6",
        "ckpt_10",
    }


def test_named_step_that_is_damaged_is_an_error(template, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(template, workdir)
    _truncate(workdir / "checkpoints/ckpt_10/counter/metadata", 3)
    with pytest.raises(
        kd.ckpts.DamagedCheckpointError, match="has 3 bytes, 9 were"
    ) as e:
        _checkpointer(workdir).restore(_run(0), step=10)
    assert e.value.step == 10
    assert "counter/metadata" in e.value.problems[0]


def test_all_steps_damaged_is_an_error_and_no_fresh_start(template, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(template, workdir)
    for step in (5, 10):
        _flip_a_byte(workdir / f"checkpoints/ckpt_{step}/state/_METADATA")
    checkpointer = _checkpointer(workdir)
    with pytest.raises(kd.ckpts.CheckpointError, match=r"damaged: steps \[10, 5\]"):
        checkpointer.restore(_run(0), noop_if_missing=True)
    assert checkpointer.latest_step == 10  # or a loop would start over


def test_another_model_is_no_damage(template):
    other = Run({"w": jnp.zeros(3), "step": jnp.int32(0)}, Counter())
    with pytest.raises(kd.ckpts.CheckpointError, match="does not fit") as e:
        _checkpointer(template).restore(other)
    assert not isinstance(e.value, kd.ckpts.DamagedCheckpointError)


class _Refusing(Counter):
    def set_state(self, state):
        raise ValueError("a state that I do not know")


def test_fault_of_the_program_that_reads_is_no_damage(template):
    checkpointer = _checkpointer(template)
    with pytest.raises(ValueError, match="a state that I do not know"):
        checkpointer.restore(_run(0, _Refusing()))
    assert list(checkpointer.all_steps) == [5, 10]


def test_checksums_are_those_of_another_library(template):
    import google_crc32c

    folder = template / "checkpoints/ckpt_10"
    listed = json.loads((folder / "checksums.json").read_text())["files"]
    on_disk = {os.fspath(p.relative_to(folder)) for p in _files(folder)}
    covered = {n for n in on_disk if pathlib.Path(n).name not in _IRRELEVANT}
    assert set(listed) == covered - {"checksums.json"}
    for name, entry in listed.items():
        data = (folder / name).read_bytes()
        assert entry == {
            "bytes": len(data),
            "crc32c": f"{google_crc32c.value(data):08x}",
        }


def test_kill_before_the_commit_leaves_nothing_that_counts(template, tmp_path):
    """The checksums are in the folder before it has its name: a step has both or none."""
    workdir = tmp_path / "run"
    shutil.copytree(template, workdir)
    folder = workdir / "checkpoints"
    for left in ("ckpt_11.orbax-checkpoint-tmp", "ckpt_3.deleting"):
        shutil.copytree(folder / "ckpt_5", folder / left)
    (folder / "notes.txt").write_text("mine")
    assert _restore(workdir) == 10
    with _checkpointer(workdir) as checkpointer:
        assert list(checkpointer.all_steps) == [5, 10]
        checkpointer.save(_run(11), step=11)
    assert {p.name for p in folder.iterdir()} == {
        "ckpt_5",
        "ckpt_10",
        "ckpt_11",
        "notes.txt",
    }


def test_run_continues_from_the_step_before_a_damaged_one(tmp_path, capsys):
    def trainer():
        return small_run.make_trainer(
            tmp_path / "run",
            writer=None,
            num_train_steps=6,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=2),
        )

    state, _ = trainer().train()
    expected = small_run.state_hash(state)
    checkpoints = tmp_path / "run/checkpoints"
    _flip_a_byte(checkpoints / "ckpt_6/ds_iter/metadata")
    state, _ = trainer().train()
    assert small_run.state_hash(state) == expected
    assert "checkpoint of step 6 is damaged" in capsys.readouterr().err
    names = {path.name for path in checkpoints.iterdir()}
    assert names == {"ckpt_2", "ckpt_4", "ckpt_6", "ckpt_6.damaged"}
    assert kd.ckpts.find_damage(tmp_path / "run", 6) == []
