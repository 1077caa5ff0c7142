"""`kauldron init`, `runs ...`, and trainings that are started in a workspace."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import pathlib
import subprocess
import sys

import pytest
from absl import flags

from kauldron import kd
from kauldron.cli import command_table
from tests.tracking.registry import made_runs

_CONFIG = """
from kauldron import konfig

with konfig.imports():
    from kauldron import kd
    from tests.tracking.registry import fake_trainer


def get_config():
    return fake_trainer.FakeTrainer({tracking})
"""


@pytest.fixture
def kauldron(tmp_path, monkeypatch, capfd):
    """Calls `kauldron ARGS` in a new folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        num_words = 2 if " ".join(args[:2]) in command_table.COMMANDS else 1
        command = command_table.COMMANDS[" ".join(args[:num_words])]
        module, _, function = command.function.partition(":")
        main = getattr(importlib.import_module(f"kauldron.cli.{module}"), function)
        code = main(["kauldron", *args[num_words:]], flag_values=flags.FlagValues())
        return (code, *capfd.readouterr())

    return call


def test_runs_are_listed_as_table_as_json_and_as_csv(kauldron, tmp_path):
    assert kauldron("runs", "ls")[0] == 2
    assert "is a workspace" in kauldron("init")[1]
    for i, value in enumerate((0.5, 0.95, "NaN")):
        config = {"name": "x", "optimizer": {"learning_rate": 10.0**-i}}
        made_runs.make(tmp_path / "runs" / f"r{i}", config=config, curve=[value])
    assert kauldron("runs", "index", "runs/")[:2] == (0, "Runs: 3 added.\n")
    where = "eval.accuracy > 0.4 and optimizer.learning_rate < 2"
    sorted_ = ("runs", "ls", f"--where={where}", "--sort=-eval.accuracy")
    code, out, err = kauldron(*sorted_)
    assert (code, err) == (0, "")
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "id name project experiment status step eval.accuracy optimizer.learning_rate tags",
        "run_0002 r1 default runs done 100/100 0.95 0.1",
        "run_0001 r0 default runs done 100/100 0.5 1",
    ]
    found = json.loads(kauldron(*sorted_, "--json")[1])
    assert [run["id"] for run in found] == ["run_0002", "run_0001"]
    assert found[0]["metrics"]["eval.accuracy"]["best"] == 0.95
    assert found[0]["parameters"]["optimizer.learning_rate"] == 0.1
    rows = list(csv.DictReader(io.StringIO(kauldron("runs", "ls", "--csv")[1])))
    assert [row["eval.accuracy"] for row in rows] == ["0.5", "0.95", "nan"]
    assert rows[1]["optimizer.learning_rate"] == "0.1" and rows[1]["cfg.name"] == "x"
    code, out, err = kauldron("runs", "ls", "--where=eval.acuracy > 1")
    assert (code, out) == (2, "") and "Did you mean 'eval.accuracy'?" in err
    found = json.loads(kauldron("runs", "ls", "--json")[1])  # NaN is a text in JSON
    assert found[2]["metrics"]["eval.accuracy"]["last"] == "nan"


def test_what_is_said_of_runs_is_shown(kauldron, tmp_path):
    kauldron("init")
    for i in range(3):
        made_runs.make(tmp_path / "runs" / f"r{i}", config={"seed": i}, curve=[0.5])
    kauldron("runs", "index", "runs")
    code, out, _ = kauldron("runs", "tag", "1", "r1", "--add=good,small")
    assert (code, out) == (0, "run_0001 r0: good small\nrun_0002 r1: good small\n")
    kauldron("runs", "tag", "--where='good' in tags and seed == 0", "--name=first")
    assert "  name        first\n" in kauldron("runs", "show", "run_0001")[1]
    assert kauldron("runs", "tag", "first")[0] == 2
    kauldron("runs", "archive", "first", "r1")
    assert "first" not in kauldron("runs", "ls")[1]
    assert "first" in kauldron("runs", "ls", "--archived")[1]
    kauldron("runs", "archive", "--where=archived == true", "--undo")
    assert "first" in kauldron("runs", "ls")[1]
    code, out, _ = kauldron("runs", "diff", "first", "r1")
    assert (code, out) == (1, "~ cfg.seed: 0 -> 1\n")
    code, out, _ = kauldron("runs", "rm", "first", "nothing")
    assert code == 2 and "first" in kauldron("runs", "ls")[1]  # all, or none
    code, out, _ = kauldron("runs", "rm", "first", "--files")
    assert (code, (tmp_path / "runs" / "r0").exists()) == (0, False)


def test_groups_datasets_and_artifacts_have_commands(kauldron, tmp_path):
    kauldron("init")
    made_runs.make(tmp_path / "runs" / "a", curve=[0.5])
    kauldron("runs", "index", "runs")
    for words, shown in (
        (("project", "create", "digits", "--description=8 x 8"), "'digits' was made"),
        (("project", "create", "digits"), "was there already"),
        (("family", "create", "nets", "--project=digits"), "'nets' was made"),
        (("experiment", "create", "wide", "--project=digits"), "'wide' was made"),
        (("project", "ls"), "digits   8 x 8"),
        (("family", "show", "nets"), "project  digits"),
        (("experiment", "ls", "--project=default", "--json"), '"name": "runs"'),
        (("experiment", "show", "runs"), "run_0001"),
        (("experiment", "rm", "wide"), "'wide' was removed"),
        (("dataset", "create", "d", "runs/a"), "fingerprint  sha256:"),
        (("dataset", "show", "d"), "content      same"),
        (("dataset", "ls"), "runs/a"),
        (("dataset", "rm", "d"), "its files stay"),
        (("artifact", "create", "net", "runs/a", "--run=a", "--tags=x,y"), "x y"),
        (("artifact", "promote", "net"), "net@1 is in stage staging."),
        (("artifact", "show", "net", "--json"), '"stage": "staging"'),
        (("artifact", "ls"), "run_0001"),
        (("artifact", "rm", "net@1"), "net@1 is forgotten"),
    ):
        code, out, err = kauldron(*words)
        assert code == 0, err
        assert shown in out, words
    for words, said in (
        (("project", "show", "digts"), "Did you mean 'digits'?"),
        (("project", "rm", "default"), "has a run"),
        (("project", "create"), "Say which project"),
        (("dataset", "create", "d"), "Say what and where"),
        (("artifact", "promote", "net"), "There is no artifact 'net'"),
    ):
        code, out, err = kauldron(*words)
        assert (code, out) == (2, "") and said in err


def test_a_training_is_followed_by_the_workspace_that_it_is_started_in(
    kauldron, tmp_path
):
    (tmp_path / "config.py").write_text(_CONFIG.format(tracking=""))
    train = ("train", "--cfg=config.py", "--cfg.workdir=runs/a")
    assert kauldron(*train)[:2] == (0, "None\n")
    kauldron("init")
    local = kd.tracking.Local()
    assert kauldron(*train) == (0, f"{{'workspace': {local}}}\n", "")
    given = "tracking=kd.tracking.Local(project='digits')"
    (tmp_path / "config.py").write_text(_CONFIG.format(tracking=given))
    named = kd.tracking.Local(project="digits")
    assert kauldron(*train)[:2] == (0, f"{named}\n")


@pytest.mark.slow
def test_trainings_enter_themselves(tmp_path):
    root = pathlib.Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": str(root)}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "kauldron.cli.main", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
        )
        return done.stdout

    run("init")
    for i in range(2):
        run(
            "train",
            f"--cfg={root}/examples/digits_classifier.py",
            f"--cfg.workdir=runs/r{i}",
            "--cfg.num_train_steps=20",
            f"--cfg.seed={i}",
        )
    lines = run(
        "runs", "ls", "--where=seed == 1", "--columns=eval.accuracy"
    ).splitlines()
    assert lines[1].split()[:5] == ["run_0002", "r1", "default", "runs", "done"]
    assert len(run("runs", "ls").splitlines()) == 3


def test_columns_that_no_run_has_are_refused_with_the_nearest_name(kauldron, tmp_path):
    kauldron("init")
    made_runs.make(tmp_path / "runs" / "a", config={"seed": 3}, curve=[0.5])
    kauldron("runs", "index", "runs")
    for column, near in (("cfg.sed", "cfg.seed"), ("eval.acuracy", "eval.accuracy")):
        for flag in (f"--columns={column}", f"--where={column} > 0"):
            code, out, err = kauldron("runs", "ls", flag)
            assert (code, out) == (2, "") and f"Did you mean '{near}'?" in err
    assert kauldron("runs", "ls", "--columns=cfg.seed,tags,eval.accuracy.best")[0] == 0


def test_a_workspace_says_whether_it_was_one_is_inside_another_and_is_empty(kauldron):
    assert "is a workspace;" in kauldron("init")[1]
    assert "was a workspace already;" in kauldron("init")[1]
    assert "has no runs yet: `kauldron runs index .`" in kauldron("runs", "ls")[2]
    code, out, err = kauldron("init", "inner")
    assert (code, "inner is a workspace;" in out) == (0, True)
    assert "below another workspace" in err


def test_what_create_changes_is_said_and_tags_are_words(kauldron, tmp_path):
    kauldron("init")
    made_runs.make(tmp_path / "runs" / "a", curve=[0.5])
    kauldron("runs", "index", "runs")
    kauldron("project", "create", "p", "--description=x")
    said = kauldron("project", "create", "p", "--description=y")[1]
    assert said == "The project 'p' was there already; its description is 'y' now.\n"
    for tag in ("a b", " "):
        code, out, err = kauldron("runs", "tag", "run_0001", f"--add=ok,{tag}")
        assert (code, out) == (2, "") and "without blanks" in err, tag
    assert "ok" not in kauldron("runs", "ls")[1]
