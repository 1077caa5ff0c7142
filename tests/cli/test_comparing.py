"""`kauldron runs compare|plot`, `report`, `ui`, `data inspect|summary|convert`."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from kauldron.cli import comparing, data_files, ui
from tests.tracking.registry import made_runs

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Two runs with predictions, indexed; the example of the docs without a training."""
    from kauldron import tracking

    folder = tmp_path_factory.mktemp("workspace")
    rng = np.random.default_rng(0)
    for width in (8, 16):
        workdir = folder / "runs" / f"digits_{width}"
        made_runs.make(
            workdir,
            config={"aux": {"num_features": width}},
            curve=[0.1, 0.5, 0.8 + width / 100],
            started=1_800_000_000.0 + width,
        )
        outputs = workdir / "outputs" / "eval"
        outputs.mkdir(parents=True)
        labels = rng.integers(0, 3, 30)
        np.savez(outputs / "step_100.npz", labels=labels, logits=np.eye(3)[labels])
    tracking.Workspace.create(folder)
    tracking.Registry.open(folder).index(folder / "runs")
    return folder


@pytest.fixture
def there(call, workspace, monkeypatch):
    """Calls a command in the workspace."""
    monkeypatch.chdir(workspace)
    return call


def test_compare_prints_what_differs_as_table_json_and_csv(there):
    code, out, _ = there(comparing.compare, "run_0001", "digits_16")
    assert code == 0
    assert "aux.num_features     8         16" in out
    assert "eval.accuracy (max)  0.88      0.96 *" in out
    assert "seed" not in out
    assert "seed" in there(comparing.compare, "1", "2", "--all")[1]
    told = json.loads(there(comparing.compare, "1", "2", "--json")[1])
    assert [run["id"] for run in told["runs"]] == ["run_0001", "run_0002"]
    rows = list(csv.reader(io.StringIO(there(comparing.compare, "1", "2", "--csv")[1])))
    assert rows[0] == ["kind", "name", "run_0001", "run_0002"]


def test_plot_draws_in_the_terminal_or_into_a_picture(there, tmp_path):
    code, out, _ = there(comparing.plot, "1", "2", "--metric=accuracy")
    assert code == 0
    assert "── run_0002 digits_16: 0.96 at step 20" in out
    assert "\x1b" not in out  # this is no terminal
    assert "eval.accuracy" in there(comparing.plot, "1")[1]
    for name, head in (("a.png", b"\x89PNG"), ("b.svg", b"<?xml")):
        target = f"--out={tmp_path / name}"
        assert there(comparing.plot, "1", target, "--smooth=0.5", "--log")[0] == 0
        assert (tmp_path / name).read_bytes().startswith(head)


def test_report_writes_the_formats_asked_for(there, tmp_path):
    out_flag = f"--out={tmp_path / 'report'}"
    code, out, _ = there(comparing.report, "run_0001", out_flag, "--formats=json")
    assert (code, out.strip()) == (0, str(tmp_path / "report" / "report.json"))
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert told["predictions"]["classification"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        (comparing.compare, ["run_0001"], "at least 2 different runs"),
        (comparing.compare, ["run_0001", "run_0009"], "run_0009"),
        (comparing.plot, ["1", "--metric=acuracy"], "Did you mean 'eval.accuracy'"),
        (comparing.plot, ["1", "--out=a.gif"], "ends with .png"),
        (comparing.plot, ["1", "--smooth=1"], "less than 1"),
        (comparing.plot, [], "at least 1"),
        (comparing.report, ["1"], "--out=report"),
        (comparing.report, ["--out=x"], "Say which run"),
        (comparing.report, ["1", "--out=x", "--columns=labels"], "labels=batch.label"),
        (comparing.report, ["1", "--out=x", "--formats=pdf"], "md, html, json"),
        (comparing.report, ["1", "--out=x", "--predictions=no.npz"], "no.npz"),
        (ui.main, [], "needs a terminal"),
        (data_files.inspect, [], "Say FILE"),
        (data_files.inspect, ["x.csv"], "x.csv"),
        (data_files.convert, ["x.csv"], "Say FILE OUT"),
        (data_files.summary, ["nowhere"], "no folder 'nowhere'"),
    ],
)
def test_mistakes_are_told_and_give_code_2(there, command, args, message):
    code, _, err = there(command, *args)
    assert (code, message in err) == (2, True), err


def test_tables_are_inspected_summarised_and_converted(there, tmp_path):
    (tmp_path / "a.csv").write_text("price,town\n1.5,Ulm\n2,Bern\n")
    code, out, _ = there(data_files.inspect, str(tmp_path / "a.csv"))
    assert code == 0
    assert "price   float64" in out
    target = str(tmp_path / "a.parquet")
    assert "2 rows" in there(data_files.convert, str(tmp_path / "a.csv"), target)[1]
    code, _, err = there(data_files.convert, str(tmp_path / "a.csv"), target)
    assert (code, "exists" in err) == (2, True)
    assert (
        there(data_files.convert, str(tmp_path / "a.csv"), target, "--overwrite")[0]
        == 0
    )
    told = json.loads(there(data_files.summary, str(tmp_path), "--json")[1])
    assert {t["format"] for t in told["tables"]} == {"CSV", "Parquet"}
    told = json.loads(there(data_files.inspect, target, "--json")[1])
    assert told["columns"][0]["mean"] == 1.75


def test_no_command_on_runs_or_tables_imports_jax(workspace):
    (workspace / "t.csv").write_text("a\n1\n")
    program = (
        "import sys\n"
        "from kauldron.cli import main\n"
        "from kauldron import tracking\n"
        "for args in (['runs', 'compare', '1', '2'], ['runs', 'plot', '1'],\n"
        "             ['runs', 'plot', '1', '--out=x.png'], ['ui'],\n"
        "             ['report', '1', '--out=r', '--formats=json'],\n"
        "             ['data', 'inspect', 't.csv']):\n"
        "    assert main.main(['kauldron', *args]) == (2 if args == ['ui'] else 0)\n"
        "tracking.show_runs, tracking.PageServer(tracking.Registry.open()).server_close()\n"
        "print({'jax', 'flax', 'optax', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=workspace,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(workspace)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.slow
def test_the_web_page_is_served_until_it_is_interrupted(workspace):
    process = subprocess.Popen(
        [sys.executable, "-m", "kauldron.cli.main", "ui", "--web"],
        cwd=workspace,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(workspace)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    line = process.stdout.readline()
    url = next(word for word in line.split() if word.startswith("http://"))
    with urllib.request.urlopen(f"{url}api/runs") as response:
        assert json.load(response)["total"] == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
