"""Which steps stay."""

from __future__ import annotations

import datetime
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import checkpoint_managers

from kauldron import kd
from kauldron.checkpoints import _layout, _retention

_START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def _kept(losses, **changes) -> list[int]:
    """Steps 0, 1, ... saved a minute apart, with these losses; returns those kept."""
    kwargs = {
        "max_to_keep": 2,
        "keep_period": None,
        "keep_time_interval": None,
        "best_metric_path": None,
        "best_mode": "max",
        "policy": None,
    }
    retention = _retention.Retention(**{**kwargs, **changes})
    infos = [
        _retention.StepInfo(
            step=step,
            time=_START + datetime.timedelta(minutes=step),
            metrics=None if loss is None else {"test": {"losses/total": loss}},
        )
        for step, loss in enumerate(losses)
    ]
    return sorted(retention.kept(infos))


_BEST = {"best_metric_path": "test['losses/total']"}
_NAN = float("nan")


@pytest.mark.parametrize(
    ("losses", "changes", "expected"),
    [
        ([0] * 6, {}, [4, 5]),
        ([0] * 6, {"max_to_keep": None}, [0, 1, 2, 3, 4, 5]),
        ([0] * 6, {"max_to_keep": 9}, [0, 1, 2, 3, 4, 5]),
        ([0] * 8, {"keep_period": 3}, [0, 3, 6, 7]),
        (
            [0] * 8,
            {"keep_time_interval": datetime.timedelta(minutes=2.5)},
            [0, 3, 6, 7],
        ),
        # An interval that is over at that very instant is over.
        (
            [0] * 7,
            {"keep_time_interval": datetime.timedelta(minutes=3), "max_to_keep": 1},
            [0, 3, 6],
        ),
        # The best two, and the newest.
        ([5, 9, 7, 1, 2], _BEST, [1, 2, 4]),
        ([5, 9, 7, 1, 2], {**_BEST, "best_mode": "min"}, [3, 4]),
        ([5, 9, 7, 1, 3], {**_BEST, "best_mode": "min", "max_to_keep": 1}, [3, 4]),
        # Of equals the earliest, for both modes and in any place of the ranking.
        ([1, 1, 1, 1], _BEST, [0, 1, 3]),
        ([1, 1, 1, 1], {**_BEST, "max_to_keep": 1}, [0, 3]),
        ([3, 1, 2, 1, 1], {**_BEST, "best_mode": "min"}, [1, 3, 4]),
        ([1, 3, 2, 2, 2], _BEST, [1, 2, 4]),
        ([_NAN, 2, 2, _NAN], {**_BEST, "max_to_keep": 1}, [1, 3]),
        # Not a number, infinite, or not measured never wins.
        ([1, _NAN, 2, _NAN, None], _BEST, [0, 2, 4]),
        ([1, _NAN, 2, _NAN, None], {**_BEST, "best_mode": "min"}, [0, 2, 4]),
        ([float("-inf"), None, _NAN, None], {**_BEST, "max_to_keep": 1}, [0, 3]),
        ([None, None, None], _BEST, [1, 2]),
        ([3, 2, 1], {**_BEST, "keep_period": 2, "max_to_keep": 1}, [0, 2]),
        # Policies of Orbax; the newest stays, whatever they say.
        ([0] * 6, {"policy": checkpoint_managers.CustomSteps([1, 3])}, [1, 3, 5]),
        (
            [5, 9, 7, 1, 2],
            {
                "policy": checkpoint_managers.BestN(
                    get_metric_fn=lambda m: m["test"]["losses/total"], n=1
                )
            },
            [1, 4],
        ),
        # What is protected stays in addition, whatever else decides.
        ([0] * 6, {"protected": frozenset({1})}, [1, 4, 5]),
        ([5, 9, 7, 1, 2], {**_BEST, "protected": frozenset({3})}, [1, 2, 3, 4]),
        (
            [0] * 6,
            {
                "policy": checkpoint_managers.CustomSteps([1]),
                "protected": frozenset({2}),
            },
            [1, 2, 5],
        ),
        ([], {}, []),
    ],
)
def test_steps_kept(losses, changes, expected):
    assert _kept(losses, **changes) == expected


def test_period_is_in_steps_and_not_in_saves():
    infos = [_retention.StepInfo(step=s, time=_START) for s in (0, 20, 30, 45, 60, 80)]
    retention = _retention.Retention(
        max_to_keep=1,
        keep_period=30,
        keep_time_interval=None,
        best_metric_path=None,
        best_mode="max",
        policy=None,
    )
    assert sorted(retention.kept(infos)) == [0, 30, 60, 80]


def _state(step: int):
    return {"w": jnp.full(64, step)}


def test_best_steps_stay_across_restarts(tmp_path):
    losses = {0: 3.0, 1: 1.0, 2: np.float32(2.0), 3: jnp.float32("nan"), 4: 5.0}
    for step, loss in losses.items():
        with kd.ckpts.Checkpointer(
            workdir=tmp_path,
            save_interval_steps=1,
            max_to_keep=1,
            best_metric_path="test.loss",
            best_mode="min",
        ) as checkpointer:
            checkpointer.save(
                _state(step), step=step, metrics={"test": {"loss": loss, "text": "x"}}
            )
    assert list(checkpointer.all_steps) == [1, 4]
    assert _layout.read_metrics(tmp_path / "checkpoints/ckpt_1") == {
        "test": {"loss": 1}
    }


def test_metric_that_no_step_has_is_told_once(tmp_path, capsys):
    with kd.ckpts.Checkpointer(
        workdir=tmp_path,
        save_interval_steps=1,
        max_to_keep=1,
        best_metric_path="test.los",
    ) as checkpointer:
        for step in range(3):
            metrics = {"test": {"loss": 1.0}}
            checkpointer.save(_state(step), step=step, metrics=metrics)
    said = capsys.readouterr().err
    assert said.count("`best_metric_path`") == 1
    assert "test.loss" in said
    assert "newest steps are kept" in said
    assert list(checkpointer.all_steps) == [2]


def test_old_steps_that_cannot_be_deleted_are_a_warning(tmp_path, capsys, monkeypatch):
    def fail(directory, step):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(_layout, "remove_step", fail)
    with kd.ckpts.Checkpointer(
        workdir=tmp_path, save_interval_steps=1, max_to_keep=1
    ) as checkpointer:
        for step in range(2):
            checkpointer.save(_state(step), step=step)
    assert "could not be deleted: [Errno 5]" in capsys.readouterr().err
    assert list(checkpointer.all_steps) == [0, 1]


def test_metrics_are_where_orbax_looks_for_them(tmp_path):
    import orbax.checkpoint as ocp

    with kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1) as checkpointer:
        checkpointer.save(_state(0), step=0, metrics={"test": {"loss": 3.0}})
    options = ocp.CheckpointManagerOptions(
        step_prefix="ckpt", read_only=True, best_fn=lambda m: m["test"]["loss"]
    )
    with ocp.CheckpointManager(tmp_path / "checkpoints", options=options) as manager:
        assert manager.best_step() == 0
        assert manager.metrics(0) == {"test": {"loss": 3.0}}


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_to_keep": 1},
        {"max_to_keep": 1, "best_metric_path": "test.loss"},
        {"preservation_policy": checkpoint_managers.CustomSteps([])},
    ],
)
def test_there_is_a_complete_checkpoint_at_every_instant(tmp_path, kwargs):
    directory = tmp_path / "checkpoints"
    instants: list[list[int]] = []
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.is_set():
            steps = list(_layout.step_dirs(_layout.checkpoints_dir(tmp_path)))
            instants.append(steps)
            time.sleep(1e-4)  # the others need the interpreter, too

    with kd.ckpts.Checkpointer(
        workdir=tmp_path, save_interval_steps=1, **kwargs
    ) as checkpointer:
        checkpointer.save(_state(0), step=0)
        checkpointer.wait_until_finished()
        watcher = threading.Thread(target=watch)
        watcher.start()
        for step in range(1, 15):
            metrics = {"test": {"loss": float(-step)}}
            checkpointer.save(_state(step), step=step, metrics=metrics)
        checkpointer.wait_until_finished()
        is_done.set()
        watcher.join()
    assert len({tuple(steps) for steps in instants}) > 10  # it did see changes
    assert all(instants)
    assert len(list(directory.iterdir())) <= 2


def test_deleted_step_is_gone(tmp_path):
    with kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1) as checkpointer:
        for step in (0, 1):
            checkpointer.save(_state(step), step=step)
        checkpointer.delete(0)
        assert list(checkpointer.all_steps) == [1]
        with pytest.raises(FileNotFoundError, match=r"no step 0 .*found steps \[1\]"):
            checkpointer.delete(0)


@pytest.mark.parametrize("name", ["max_to_keep", "keep_period"])
def test_numbers_below_one_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1: got 0"):
        kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1, **{name: 0})
