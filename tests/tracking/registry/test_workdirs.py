"""Workdirs as they are found: damaged, half written, moved, of others."""

from __future__ import annotations

import json
import math
import pathlib
import random
import shutil
import subprocess
import sys

import pytest

from kauldron import kd, workdir
from tests.tracking.registry import made_runs


@pytest.fixture
def registry(tmp_path):
    return kd.tracking.Registry.open(tmp_path / "registry.db")


def test_what_is_damaged_is_told_and_the_rest_is_read(registry, tmp_path):
    whole = made_runs.make(tmp_path / "runs" / "a", curve=[0.5])
    with open(whole / "metrics.jsonl", "a") as f:
        f.write(
            'not json\n{"step": 5, "collection": "eval", "metrics/accuracy": 0.7}\n'
        )
        f.write('{"step": 9, "collection": "ev')  # a process was killed here
    (made_runs.make(tmp_path / "runs" / "b", curve=[0.1]) / "config.json").write_text(
        "{"
    )
    (made_runs.make(tmp_path / "runs" / "c") / "status.json").write_text("[]")
    report = registry.index(tmp_path)
    assert len(report.added) == 3
    [lines, config, status] = report.problems
    assert lines.endswith("metrics.jsonl': 1 lines are damaged")
    assert "config.json' is no config" in config
    assert "status.json' is no status" in status
    a, b, c = sorted(registry.runs(), key=lambda run: run.name)
    assert a.metrics["eval.accuracy"].last == 0.7
    assert (b.parameters, b.metrics["eval.accuracy"].last) == ({}, 0.1)
    assert c.status == "unknown"


def test_best_is_by_the_rule_of_sweeps_and_only_of_finite_values(registry, tmp_path):
    train = [
        # Of the first parameters: measured in training before anything was learnt.
        {"step": 0, "collection": "train", "losses/total": 0.1, "schedules/rate": 3.0},
        {"step": 1, "collection": "train", "losses/total": 2.0, "schedules/rate": 2.0},
        {"step": 2, "collection": "train", "losses/total": "-Infinity", "list": [1]},
        {"step": 3, "collection": "train", "losses/total": 1.0, "metrics/total": 7},
        {"step": 4, "collection": "train", "losses/total": 1.0, "schedules/rate": 1.0},
        {"step": 5, "collection": "train", "losses/total": "NaN"},
    ]
    made_runs.make(tmp_path / "a", records=train, curve=["NaN", "Infinity"])
    registry.index(tmp_path)
    [run] = registry.runs()
    assert set(run.metrics) == {
        "train.total",
        "train.rate",
        "train.losses/total",
        "eval.accuracy",
    }
    loss = run.metrics["train.losses/total"]
    assert math.isnan(loss.last) and loss.last_step == 5
    assert (loss.best, loss.best_step, loss.mode) == (1.0, 3, "min")
    rate = run.metrics["train.rate"]
    assert (rate.best, rate.best_step, rate.mode) == (1.0, 4, None)
    assert run.metrics["eval.accuracy"].best == math.inf  # nothing else is a number
    curve = registry.curve(run, "train.losses/total")
    assert curve.steps == (0, 1, 2, 3, 4, 5) and math.isnan(curve.values[5])
    with pytest.raises(workdir.MetricError, match=r"Did you mean 'eval.accuracy'\?"):
        registry.curve(run, "eval.acuracy")


def test_a_run_that_goes_on_is_seen_as_it_is_now(registry, tmp_path):
    path = made_runs.make(tmp_path / "a", state="running", curve=[0.1])
    registry.index(tmp_path)
    assert registry.run("a").is_alive
    made_runs.make(tmp_path / "a", state="running", curve=[0.1, 0.2])
    assert registry.runs("eval.accuracy == 0.2")[0].status == "running"
    made_runs.write_status(path, state="running", heartbeat=1.0)
    assert not registry.run("a").is_alive  # killed long ago
    made_runs.write_status(path, state="failed", message="out of memory\nat ...")
    assert registry.run("a").message.startswith("out of memory")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A file of a registry; a copy is quicker than to make its tables anew."""
    path = tmp_path_factory.mktemp("empty") / "registry.db"
    kd.tracking.Registry.open(path)
    return path


@pytest.mark.parametrize("seed", range(20))
def test_a_file_that_grows_is_known_as_if_it_were_read_from_its_start(
    tmp_path, empty, seed
):
    """Lines come whole and in parts, and are taken back, as by a run that is resumed."""
    rng = random.Random(seed)
    path = made_runs.make(tmp_path / "a", state="running", curve=[0.5])
    metrics = path / "metrics.jsonl"
    shutil.copy(empty, tmp_path / "registry.db")
    registry = kd.tracking.Registry.open(tmp_path / "registry.db")
    for i in range(12):
        text = metrics.read_text()
        kind = rng.randrange(4)
        if kind == 0:  # rewound: another file under this name
            lines = text.splitlines(keepends=True)
            (tmp_path / "new").write_text("".join(lines[: rng.randint(0, len(lines))]))
            (tmp_path / "new").replace(metrics)
        elif kind == 1:  # written over, as by an editor
            metrics.write_text(text.replace("0.", "1."))
        else:
            text = "".join(
                json.dumps(
                    {
                        "step": rng.randint(0, 99),
                        "collection": rng.choice(("train", "eval")),
                        f"metrics/m{rng.randint(0, 2)}": rng.choice(
                            (rng.random(), "NaN")
                        ),
                    }
                )
                + "\n"
                for _ in range(rng.randint(0, 5))
            )
            with open(metrics, "a") as f:
                f.write(text[: rng.choice((len(text), rng.randint(0, len(text))))])
        [run] = [registry.register(path)]
        shutil.copy(empty, tmp_path / f"fresh{i}.db")
        fresh = kd.tracking.Registry.open(tmp_path / f"fresh{i}.db")
        expected = fresh.register(path)
        assert repr(run.metrics) == repr(expected.metrics)


def test_of_a_run_that_goes_on_only_what_is_new_is_read(registry, tmp_path):
    path = made_runs.make(tmp_path / "a", state="running", curve=[0.1] * 1000)
    registry.index(tmp_path)
    metrics = path / "metrics.jsonl"
    with open(metrics, "r+") as f:  # nothing does this; it shows what is read
        f.write("x" * 40)
    with open(metrics, "a") as f:
        f.write('{"step": 99999, "collection": "eval", "metrics/accuracy": 0.7}\n')
    report = registry.index(tmp_path)
    assert report.problems == ()
    assert registry.run("a").metrics["eval.accuracy"].last == 0.7


def test_folders_of_other_programs_and_inside_of_runs_are_no_runs(registry, tmp_path):
    inner = made_runs.make(tmp_path / "runs" / "a") / "evaluations" / "again"
    made_runs.make(inner)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text('{"model_type": "llama"}')
    made_runs.make(tmp_path / ".hidden" / "b")
    registry.index(tmp_path)
    assert [run.name for run in registry.runs()] == ["a"]
    with pytest.raises(kd.tracking.RegistryError, match="There is no folder"):
        registry.index(tmp_path / "nothing")
    with pytest.raises(kd.tracking.RegistryError, match="is no workdir of a run"):
        registry.register(tmp_path / "hf" / "nothing")


def test_a_workdir_that_was_deleted_is_missed_and_its_numbers_stay(registry, tmp_path):
    made_runs.make(tmp_path / "runs" / "a", curve=[0.5])
    registry.index(tmp_path)
    registry.change("a", add_tags=["good"])
    shutil.rmtree(tmp_path / "runs" / "a")
    assert registry.index(tmp_path / "runs").missing == ("run_0001",)
    [run] = registry.runs("eval.accuracy == 0.5 and 'good' in tags")
    with pytest.raises(kd.tracking.RegistryError, match="runs rm run_0001` forgets it"):
        registry.curve(run, "eval.accuracy")
    # What people say of it is still kept, beside the database.
    registry.change(run, name="lost", remove_tags=["good"])
    assert registry.run("lost").tags == ()
    assert registry.run("lost").metrics["eval.accuracy"].last == 0.5


def test_a_run_is_named_in_many_ways_and_a_wrong_name_is_answered(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        kd.tracking.Workspace.create(tmp_path / place)
    registry = kd.tracking.Registry.open("one")
    with pytest.raises(kd.tracking.RegistryError, match="has none yet"):
        registry.run("run_0001")
    for name in ("a", "b", "x/a"):
        made_runs.make(tmp_path / "one" / name)
    registry.index("one")
    registry.change("b", name="best")
    for name in ("run_0002", "2", "best", "b", "one/b", str(tmp_path / "one" / "b")):
        assert registry.run(name).id == "run_0002"
    with pytest.raises(
        kd.tracking.RegistryError,
        match="2 runs are called 'a': say run_0001 or run_0003",
    ):
        registry.run("a")
    with pytest.raises(kd.tracking.RegistryError, match=r"Did you mean 'best'\?"):
        registry.run("bset")
    elsewhere = "it has 3, run_0001 to run_0003. Each workspace has numbers of its own"
    with pytest.raises(kd.tracking.RegistryError, match=elsewhere):
        registry.run("run_0012")
    with pytest.raises(
        kd.tracking.RegistryError, match="run_0001 of another workspace"
    ):
        kd.tracking.Registry.open("two").run("one/a")


def test_a_run_that_is_alive_is_not_removed(registry, tmp_path):
    made_runs.make(tmp_path / "a", state="running")
    registry.index(tmp_path)
    with pytest.raises(
        kd.tracking.RegistryError, match=r"is running .step 100 of 100."
    ):
        registry.remove("a", with_files=True)
    made_runs.write_status(tmp_path / "a")
    registry.remove("a", with_files=True)
    assert not (tmp_path / "a").exists() and registry.runs() == []


def test_a_workspace_that_is_moved_still_knows_its_runs(tmp_path, monkeypatch):
    place = tmp_path / "before"
    place.mkdir()
    kd.tracking.Workspace.create(place)
    made_runs.make(place / "runs" / "a", curve=[0.5])
    kd.tracking.Registry.open(place).index(place)
    place.rename(tmp_path / "after")
    monkeypatch.chdir(tmp_path / "after" / "runs" / "a")
    registry = kd.tracking.Registry.open()
    [run] = registry.runs()
    assert run.workdir == str(tmp_path / "after" / "runs" / "a")
    assert registry.curve(run, "eval.accuracy").values == (0.5,)


def test_looking_at_runs_imports_no_jax(tmp_path):
    made_runs.make(tmp_path / "a", curve=[0.5])
    program = (
        "import sys\nfrom kauldron.cli import main\n"
        "for words in (['init'], ['runs', 'index', '.'], ['runs', 'ls'],\n"
        "              ['runs', 'show', 'a'], ['runs', 'tag', 'a', '--add=b']):\n"
        "    assert main.main(['kauldron', *words]) == 0, words\n"
        "print('jax' in sys.modules, 'numpy' in sys.modules)\n"
    )
    done = _run_program(program, tmp_path)
    assert done.stdout.splitlines()[-1] == "False False"
    assert json.loads((tmp_path / "a" / "tracking.json").read_text())["tags"] == ["b"]


def test_a_list_of_runs_imports_neither_sqlalchemy_nor_alembic(registry, tmp_path):
    made_runs.make(tmp_path / "a", curve=[0.5])
    made_runs.make(tmp_path / "b", curve=[0.7])
    program = (
        "import sys\nfrom kauldron.cli import main\n"
        "assert main.main(['kauldron', *sys.argv[1:]]) == 0\n"
        "print('sqlalchemy' in sys.modules, 'alembic' in sys.modules)\n"
    )
    kd.tracking.Workspace.create(tmp_path)
    kd.tracking.Registry.open(tmp_path).index(tmp_path)
    where = "--where=eval.accuracy > 0.4 and status == 'done'"
    for words in (
        ("runs", "ls", where, "--sort=-eval.accuracy"),
        ("runs", "show", "b"),
        ("runs", "compare", "a", "b"),
        ("project", "ls"),
    ):
        done = _run_program(program, tmp_path, *words)
        assert done.stdout.splitlines()[-1] == "False False", words


def _run_program(program, cwd, *args):
    root = pathlib.Path(__file__).parents[3]
    program = f"import sys; sys.path.insert(0, {str(root)!r})\n{program}"
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )


def test_a_number_that_only_the_journal_knows_comes_back(tmp_path):
    """As after a kill between the database and the note in the workdir."""
    for i in range(2):
        made_runs.make(
            tmp_path / "runs" / f"r{i}", config={}, curve=[0.5], started=1000.0 - i
        )
        database = tmp_path / "registry.db"
        kd.tracking.Registry.open(database).index(tmp_path)
    note = tmp_path / "runs" / "r0" / "tracking.json"
    note.write_text('{"tags": ["new"]}')
    for path in tmp_path.glob("registry.db*"):
        path.unlink()
    again = kd.tracking.Registry.open(database)
    assert {run.name: run.id for run in again.runs()} == {
        "r0": "run_0001",
        "r1": "run_0002",
    }
