"""Commands that need a run and are given none say so in one line, before any work."""

from __future__ import annotations

import pathlib

import pytest

from kauldron.cli import evaluate, export, predict, train

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
