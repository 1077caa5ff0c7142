"""The start of a run does without the garbage collector; what comes after has it."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from kauldron import kd
from kauldron._base import collector
from kauldron.cli import evaluate, export, predict, train
from tests.train import small_run
from tests.utils import garbage


@pytest.fixture
def thresholds():
    """Those of a new process, in which nothing is frozen; they must be there at the end."""
    before = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)
    yield (700, 10, 10)
    after = gc.get_threshold(), gc.get_freeze_count()
    gc.set_threshold(*before)
    gc.freeze()  # as after collection
    assert after == ((700, 10, 10), 0)


@pytest.mark.parametrize(
    "law",
    [
        garbage.nothing_is_collected_until_the_start_is_over,
        garbage.garbage_of_a_start_is_found_when_the_run_is_over,
        garbage.a_block_inside_of_another_changes_nothing,
        garbage.what_was_frozen_before_stays_so,
        garbage.an_error_restores_it,
    ],
    ids=lambda law: law.__name__,
)
def test_in_a_process_of_its_own(law):
    command = [sys.executable, "-m", garbage.__name__, law.__name__]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
