"""The start of a run does without the garbage collector; what comes after has it."""

from __future__ import annotations

import gc

import pytest

from kauldron import kd
from kauldron._base import collector
from kauldron.cli import evaluate, export, predict, train
from tests.train import small_run


@pytest.fixture(autouse=True)
def thresholds():
    """Those of a new process, in which nothing is frozen; they must be there at the end."""
    before, was_frozen = gc.get_threshold(), gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)
    yield (700, 10, 10)
    after = gc.get_threshold(), gc.get_freeze_count()
    gc.set_threshold(*before)
    if was_frozen:
        gc.freeze()
    assert after == ((700, 10, 10), 0)


class _Loop:
    """Garbage that only the collector finds."""

    alive = 0

    def __init__(self):
        self.me = self
        _Loop.alive += 1

    def __del__(self):
        _Loop.alive -= 1


def _make_garbage():
    for _ in range(100_000):
        _Loop()
    return _Loop.alive


def test_nothing_is_collected_until_the_start_is_over():
    with collector.postponed():
        assert _make_garbage() == 100_000
        gc.collect()
        collector.resume()
        assert _make_garbage() < 10_000
    gc.collect()


def test_garbage_of_a_start_is_found_when_the_run_is_over():
    with collector.postponed():
        _make_garbage()
        collector.resume()
        gc.collect()
        assert _Loop.alive == 100_000
    gc.collect()
    assert _Loop.alive == 0


def test_a_block_inside_of_another_changes_nothing(thresholds):
    with collector.postponed():
        with collector.postponed():
            pass
        assert gc.get_threshold() != thresholds


def test_what_was_frozen_before_stays_so():
    gc.freeze()
    frozen = gc.get_freeze_count()
    with collector.postponed():
        collector.resume()
    assert gc.get_freeze_count() >= 0.9 * frozen
    gc.unfreeze()


def test_an_error_restores_it():
    with pytest.raises(ValueError, match="no"), collector.postponed():
        raise ValueError("no")


def test_the_start_of_a_run_is_over_after_its_first_step(tmp_path, thresholds):
    seen = []

    class Look(kd.train.Hook):
        def before_step(self, run, *, step, state, batch):
            seen.append(gc.get_threshold() == thresholds)

    trainer = small_run.make_trainer(tmp_path / "run", num_train_steps=3)
    with collector.postponed():
        trainer.replace(hooks={"look": Look()}).train()
    assert seen == [False, True, True]


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (train, []),
        (evaluate, ["--workdir=nowhere"]),
        (predict, ["--workdir=nowhere", "--out=preds.npz"]),
        (export, ["--workdir=nowhere", "--out=exported"]),
    ],
)
def test_the_command_loads_its_config_without_it(
    tmp_path, thresholds, capfd, command, flags
):
    config = tmp_path / "config.py"
    config.write_text("import gc, sys\nprint(gc.get_threshold())\nsys.exit(0)\n")
    with pytest.raises(SystemExit):
        command.main(["it", f"--cfg={config}", *flags], flag_values=_flag_values())
    first, *rest = map(int, capfd.readouterr().out.strip("()\n").split(","))
    assert first > 100 * thresholds[0]
    assert tuple(rest) == thresholds[1:]


def _flag_values():
    from absl import flags

    return flags.FlagValues()
