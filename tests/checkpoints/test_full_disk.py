"""Disks that are full or read-only. They are real, small ones: it takes root."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import gc
import logging
import os
import pathlib
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.checkpoints import _orbax_messages
from kauldron.cli import command_runner
from tests.train import small_run

_DISK_BYTES = 8 << 20


@pytest.fixture
def disk(tmp_path):
    """Folder on a disk of its own, 8 MiB large."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a disk takes root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def _state(seed: int):
    values = np.random.default_rng(seed).standard_normal(400_000, dtype=np.float32)
    return {"w": jnp.asarray(values)}  # 1.6 MB, and does not compress


def _fill(disk: pathlib.Path, *, leave_bytes: int) -> pathlib.Path:
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with ballast.open("ab") as file:
        file.write(bytes(free - leave_bytes))
    return ballast


def _checkpointer(disk, **kwargs):
    return kd.ckpts.Checkpointer(
        workdir=disk / "run", save_interval_steps=1, max_to_keep=None, **kwargs
    )


def _assert_restores(checkpointer, step: int) -> None:
    restored = checkpointer.restore(_state(99), step=step)
    np.testing.assert_array_equal(restored["w"], _state(step)["w"])


@pytest.fixture
def assert_quiet(caplog):
    """Checks that nothing is said but by us, also by what is collected later."""
    yield
    gc.collect()
    assert [
        r.getMessage()[:200] for r in caplog.records if r.levelname == "ERROR"
    ] == []


_UNRAISABLE_IS_AN_ERROR = pytest.mark.filterwarnings(
    "error::pytest.PytestUnraisableExceptionWarning"
)


@_UNRAISABLE_IS_AN_ERROR
@pytest.mark.usefixtures("assert_quiet")
@pytest.mark.parametrize("leave_bytes", [1_000_000, 8192, 0])
def test_full_disk_is_a_warning_and_the_next_save_succeeds(disk, capsys, leave_bytes):
    with _checkpointer(disk) as checkpointer:
        checkpointer.save(_state(0), step=0)
        checkpointer.wait_until_finished()
        ballast = _fill(disk, leave_bytes=leave_bytes)
        checkpointer.save(_state(1), step=1)  # fails in the background, or at once
        checkpointer.save(_state(2), step=2)
        said = capsys.readouterr().err
        assert "Warning: The checkpoint of step 1 could not be written" in said
        assert "No space left on device" in said
        # Nothing here knows whether there is one.
        assert "The next save, if there is one, tries again." in said
        _assert_restores(checkpointer, 0)
        with pytest.raises(
            kd.ckpts.SaveError, match="step 2 could not be written"
        ) as e:
            checkpointer.wait_until_finished()
        assert e.value.step == 2
        assert e.value.__cause__ is e.value.cause
        assert e.value.cause.errno == errno.ENOSPC  # not the page that TensorStore says
        said = (said + capsys.readouterr().err).splitlines()
        assert [line.partition(" to ")[0] for line in said] == [
            f"Warning: The checkpoint of step {step} could not be written"
            for step in (1, 2)
        ]
        assert list(checkpointer.all_steps) == [0]
        # Nothing of the failed ones is left to take space.
        assert {p.name for p in (disk / "run/checkpoints").iterdir()} == {"ckpt_0"}
        ballast.unlink()
        assert checkpointer.save(_state(3), step=3)
        checkpointer.wait_until_finished()
        for step in (0, 3):
            _assert_restores(checkpointer, step)


def test_other_failures_in_the_background_are_raised_with_the_step(disk, monkeypatch):
    from kauldron.checkpoints import _checksums

    def fail(folder):
        raise OSError(5, "Input/output error")

    with _checkpointer(disk) as checkpointer:
        checkpointer.save(_state(0), step=0)
        checkpointer.wait_until_finished()
        with monkeypatch.context() as patch:
            patch.setattr(_checksums, "write", fail)
            checkpointer.save(_state(1), step=1)
            with pytest.raises(
                kd.ckpts.SaveError, match=r"step 1 .*Input/output error"
            ):
                checkpointer.save(_state(2), step=2)
        assert list(checkpointer.all_steps) == [0]
        assert checkpointer.save(_state(3), step=3)
    assert list(checkpointer.all_steps) == [0, 3]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _FillingCheckpointer(kd.ckpts.Checkpointer):
    """The disk is full from one save on, until another."""

    disk: pathlib.Path
    full_at: int
    free_at: int

    def save(self, state, *, step, **kwargs):
        if self.full_at <= step < self.free_at:
            # Each time: what is written beside the steps may have left room meanwhile.
            with contextlib.suppress(kd.ckpts.SaveError):
                self.wait_until_finished()
            _fill(self.disk, leave_bytes=0)
        if step == self.free_at:
            (self.disk / "ballast").unlink()
        return super().save(state, step=step, **kwargs)


def _trainer(disk, **kwargs):
    checkpointer = _FillingCheckpointer(
        save_interval_steps=1, max_to_keep=2, disk=disk, **kwargs
    )
    return small_run.make_trainer(
        disk / "run", writer=None, num_train_steps=4, checkpointer=checkpointer
    )


@pytest.mark.slow
def test_run_goes_on_while_the_disk_is_full(disk, capsys):
    state, _ = _trainer(disk, full_at=1, free_at=3).train()
    said = capsys.readouterr().err
    for step, fails in [(0, False), (1, True), (2, True), (3, False), (4, False)]:
        assert (f"The checkpoint of step {step} could not" in said) == fails
    assert int(state.step) == 4
    assert list(_trainer(disk, full_at=99, free_at=99).checkpointer.all_steps) == [3, 4]


@_UNRAISABLE_IS_AN_ERROR
@pytest.mark.usefixtures("assert_quiet")
def test_last_step_that_cannot_be_saved_is_an_error(disk):
    trainer = _trainer(disk, full_at=3, free_at=99)
    with pytest.raises(kd.ckpts.SaveError, match="step 4 could not be written"):
        trainer.train()
    assert list(trainer.checkpointer.all_steps) == [1, 2]


def test_read_only_workdir_fails_at_the_start(disk):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(
        ValueError,
        match=r"cannot be written: no folder can be made .*Read-only file system",
    ):
        _trainer(disk, full_at=99, free_at=99).train()


def test_orbax_logs_are_left_alone_after_closing(disk):
    before = list(logging.getLogger("absl").filters)
    with _checkpointer(disk) as checkpointer:
        checkpointer.save({"w": jnp.zeros(2)}, step=0)
    assert logging.getLogger("absl").filters == before


def test_command_says_a_full_disk_in_one_line(capsys):
    error = kd.ckpts.SaveError(
        4, pathlib.Path("runs/a"), OSError(28, os.strerror(28)), is_no_space=True
    )

    def fail():
        raise error from error.cause

    assert command_runner.run(fail, argv=["kauldron"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "Error: The checkpoint of step 4 could not be written to 'runs/a': No space left "
        "on device. The ones before it are intact."
    ]


@pytest.fixture
def unraisables(monkeypatch):
    """What reaches the hook that was there before ours."""
    seen = []
    monkeypatch.setattr("sys.unraisablehook", lambda u: seen.append(u.exc_value))
    # As in a process where no checkpointer is open.
    monkeypatch.setattr(_orbax_messages.QuietOrbax, "_active", set())
    monkeypatch.setattr(_orbax_messages.QuietOrbax, "_hook_before", None)
    return seen


class _Unraisable:
    def __init__(self, error, *, is_of_asyncio):
        try:
            if is_of_asyncio:
                loop = asyncio.new_event_loop()
                loop.close()
                loop.call_soon_threadsafe(print)
            raise error
        except Exception as e:
            self.exc_value, tb = e, e.__traceback__
            # TensorStore's thread has no frame of ours.
            self.exc_traceback = tb.tb_next if is_of_asyncio else tb


class _OrbaxThread(threading.Thread):
    __module__ = "orbax.checkpoint.threads"


@pytest.mark.usefixtures("unraisables")
def test_what_threads_and_results_of_a_failed_save_say_late_is_dropped(caplog):
    listener = _orbax_messages.QuietOrbax()
    listener.start()
    listener.failed()
    error = ValueError("tensorstore_spec='{}'")

    def say_late():
        time.sleep(0.3)
        logging.getLogger("asyncio").error("late", exc_info=error)

    thread = _OrbaxThread(target=say_late)
    thread.start()
    loop = asyncio.new_event_loop()
    unfetched = loop.create_future()
    unfetched.set_exception(error)
    unfetched.itself = unfetched  # only the collector finds it
    loop.close()
    del unfetched, loop
    listener.stop()
    thread.join()
    gc.collect()
    assert caplog.records == []


def test_only_what_a_failed_save_leaves_behind_is_dropped(unraisables, caplog):
    closed = "Event loop is closed"
    late = _Unraisable(RuntimeError(closed), is_of_asyncio=True)
    others = [
        _Unraisable(RuntimeError(closed), is_of_asyncio=False),
        _Unraisable(ValueError("mine"), is_of_asyncio=False),
    ]
    outer, inner = _orbax_messages.QuietOrbax(), _orbax_messages.QuietOrbax()
    outer.start()
    inner.start()
    outer.stop()  # the other one still listens
    for unraisable in (late, *others):
        sys.unraisablehook(unraisable)
    asyncio_log = logging.getLogger("asyncio")
    for words in ("tensorstore_spec='{}'", "of the user"):
        error = ValueError(words)
        asyncio_log.error("never retrieved", exc_info=(ValueError, error, None))
    asyncio_log.error("without a traceback")
    inner.stop()
    assert unraisables == [other.exc_value for other in others]
    said = [(r.getMessage(), str(r.exc_info and r.exc_info[1])) for r in caplog.records]
    assert said == [
        ("never retrieved", "of the user"),
        ("without a traceback", "None"),
    ]
    sys.unraisablehook(late)  # nobody listens any more
    assert unraisables[-1] is late.exc_value
