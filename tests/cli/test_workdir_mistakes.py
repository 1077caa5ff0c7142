"""Commands that need a run and are given none say so in one line, before any work."""

from __future__ import annotations

import pathlib

import pytest

from kauldron.cli import ckpt, evaluate, export, launch, predict, sweep, train

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (train.main, []),
        (evaluate.main, []),
        (predict.main, ["--out=preds.npz"]),
        (export.main, ["--out=model"]),
    ],
    ids=["train", "eval", "predict", "export"],
)
def test_a_config_without_a_workdir_is_a_mistake_in_one_line(
    call, tmp_path, monkeypatch, function, args
):
    monkeypatch.chdir(tmp_path)
    config = ROOT / "examples/digits_classifier.py"
    code, out, err = call(function, f"--cfg={config}", *args)
    assert (code, out) == (2, ""), err
    assert err.startswith("Error: No workdir: say where")
    assert "--cfg.workdir=" in err
    assert len(err.splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workdir", ["a_file", "a_file/run"])
@pytest.mark.parametrize(
    ("function", "args", "missing"),
    [
        (ckpt.ls, ["{}"], "no workdir"),
        (ckpt.show, ["{}"], "no workdir"),
        (ckpt.verify, ["{}"], "no workdir"),
        (ckpt.diff, ["{}", "{}"], "no workdir"),
        (sweep.ls, ["--workdir={}"], "no sweep"),
    ],
    ids=["ls", "show", "verify", "diff", "sweep"],
)
def test_a_file_where_a_workdir_should_be_is_named(
    call, tmp_path, monkeypatch, function, args, missing, workdir
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("no folder")
    code, out, err = call(function, *(arg.format(workdir) for arg in args))
    assert (code, out) == (2, ""), err
    assert err == (
        f"Error: There is {missing} {workdir!r}: 'a_file' is a file, not a folder.\n"
    )


def test_a_file_has_no_job(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("no folder")
    for function in (launch.logs, launch.cancel):
        code, _, err = call(function, "a_file")
        assert code == 2, err
        assert err.startswith("Error: 'a_file' has no job")
