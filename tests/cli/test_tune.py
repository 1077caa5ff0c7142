"""`kauldron tune`: the command, what it prints, and how it ends."""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import sys

import pytest

from kauldron import konfig, launch
from kauldron.cli import command_table, tune
from kauldron.workdir import json_lines
from tests.cli.conftest import ROOT
from tests.tracking.tuning import fake_trials


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_command_of_the_help_works_as_written_and_so_does_its_best_config(tmp_path):
    words = shlex.split(command_table.COMMANDS["tune"].example)[1:]
    folder = tmp_path / "tune"
    words = [w.replace("runs/tune", str(folder)) for w in words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "kauldron.cli.main"]
    run = functools.partial(subprocess.run, cwd=ROOT, env=env, check=True)
    run([*command, *words])
    study = json.loads(
        run(
            [*command, "tune", "ls", f"--workdir={folder}", "--json"],
            stdout=subprocess.PIPE,
        ).stdout
    )
    assert [trial["state"] for trial in study["trials"]] == ["done"] * 6
    assert study["trials"][0]["overrides"] == {"aux.num_features": "32"}
    values = {trial["name"]: trial["best"] for trial in study["trials"]}
    assert values[study["best"]] == max(values.values()) > 0.96
    best = folder / "best_config.py"
    again = tmp_path / "again"
    run([*command, "train", f"--cfg={best}", f"--cfg.workdir={again}"])
    records = json_lines.read(again / json_lines.METRICS_FILE)
    measured = [r["metrics/accuracy"] for r in records if r["collection"] == "eval"]
    assert max(measured) == pytest.approx(values[study["best"]])


@pytest.fixture
def args(tmp_path, monkeypatch):
    monkeypatch.setattr(
        launch, "choose_backend", lambda on, cfg, **fields: fake_trials.Local()
    )
    cfg = fake_trials.write_config(tmp_path)
    return [f"--cfg={cfg}", f"--workdir={tmp_path / 'study'}", "--metric=eval.accuracy"]


def test_a_study_is_run_shown_and_its_best_config_written(call, args, tmp_path):
    spaces = ["--space=aux.width=int(1,64)", "--space=aux.act=choice(relu,gelu)"]
    code, out, err = call(tune.main, *args, *spaces, "--trials=4", "--cfg.aux.rate=0.5")
    assert code == 0
    lines = out.splitlines()
    head = ["#", "width", "act", "state", "step", "eval.accuracy", "at", "step"]
    assert lines[0].split() == head
    assert len(lines) == 5
    assert "4 of 4 trials: 4 done. Best eval.accuracy: " in err
    best = konfig.load_config_file(tmp_path / "study" / "best_config.py")
    assert best.aux.rate == 0.5
    code, out, err = call(tune.ls, f"--workdir={tmp_path / 'study'}", "--json")
    content = json.loads(out)
    assert (code, len(content["trials"])) == (0, 4)
    assert content["space"] == {
        "aux.width": "int(1,64)",
        "aux.act": "choice(relu,gelu)",
    }
    code, out, err = call(tune.plot, f"--workdir={tmp_path / 'study'}")
    assert code == 0
    assert all(os.path.exists(path) for path in out.split())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--space=aux.widht=int(1,64)"], "Did you mean 'width'"),
        (["--space=aux.width=int(64,1)"], "is empty"),
        ([], "Nothing differs between the trials"),
        (
            ["--space=aux.width=int(1,64)", "--metric=evl.accuracy"],
            "Did you mean 'eval'",
        ),
        (["--space=aux.width=int(1,64)", "--trials=0"], "at least 1"),
    ],
)
def test_mistakes_are_told_with_exit_code_2_and_nothing_is_started(
    call, args, tmp_path, flags, message
):
    code, out, err = call(tune.main, *args, *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "study").exists()


def test_another_space_or_direction_of_the_same_study_is_exit_code_2(call, args):
    space = "--space=aux.width=int(1,64)"
    assert call(tune.main, *args, space, "--trials=1")[0] == 0
    other = call(tune.main, *args, "--space=aux.width=int(1,32)", "--trials=1")
    assert other[0] == 2
    assert "holds another study" in other[2]
    code, _, err = call(tune.main, *args, space, "--trials=1", "--mode=min")
    assert (code, "the direction: max -> min" in err) == (2, True)


class _MeasuresNothing(fake_trials.Local):
    def _end(self, name: str) -> int:
        workdir = self._at_work.pop(name).workdir
        fake_trials.write_run(workdir, lambda: 0.0, num_steps=0)
        return 0


def test_trials_that_measure_nothing_have_failed_with_a_reason_and_code_1(
    call, args, monkeypatch
):
    backend = _MeasuresNothing()
    monkeypatch.setattr(launch, "choose_backend", lambda on, cfg, **fields: backend)
    code, out, err = call(tune.main, *args, "--space=aux.width=int(1,64)", "--trials=2")
    assert (code, "2 failed" in err) == (1, True)
    assert out.splitlines()[0].endswith("why")
    assert out.count("no number was measured as eval.accuracy after step 0") == 2


def test_plots_that_cannot_be_written_are_exit_code_2(call, args, tmp_path):
    assert call(tune.main, *args, "--space=aux.width=int(1,64)", "--trials=1")[0] == 0
    (tmp_path / "file").write_text("no folder")
    study, out = f"--workdir={tmp_path / 'study'}", f"--out={tmp_path / 'file' / 'a'}"
    code, printed, err = call(tune.plot, study, out)
    assert (code, printed) == (2, "") and "cannot be written: " in err
