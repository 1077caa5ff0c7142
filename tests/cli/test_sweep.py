"""`kauldron sweep` and `kauldron sweep ls`."""

from __future__ import annotations

import json

import pytest

from kauldron.cli import main as main_lib
from kauldron.cli import sweep
from tests.launch import backend_contract, fake_runs


@pytest.fixture
def fake(tmp_path) -> tuple[str, str]:
    cfg = fake_runs.write(tmp_path)
    return f"--cfg={cfg}", f"--workdir={tmp_path / 'sweep'}"


def test_a_sweep_is_listed_run_and_looked_at(call, fake, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(backend_contract.ROOT))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    flags = (*fake, "--cfg.aux.width={1,2}", "--cfg.seed=3")
    assert call(sweep.main, *flags, "--dry-run") == (
        0,
        "width=1  --cfg.aux.width=1\nwidth=2  --cfg.aux.width=2\n",
        "2 trials; nothing was started.\n",
    )
    assert not (tmp_path / "sweep").exists()
    code, out, err = call(sweep.main, *flags, "--parallel=1")
    assert code == 0, err
    assert out.splitlines()[2] == "*  2      done    5/5           0.24        4"
    assert "2 trials: 2 done. Best eval.accuracy: 0.24, of width=2." in err
    code, out, _ = call(sweep.ls, fake[1], "--json")
    assert code == 0
    assert [t["state"] for t in json.loads(out)["trials"]] == ["done", "done"]
    assert json.loads(out)["best"] == "width=2"
    code, out, _ = call(sweep.ls, fake[1], "--metric=eval.accuracy", "--mode=min")
    assert out.splitlines()[1] == "*  1      done    5/5            0.1        0"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cfg.aux.widht={1,2}"], "Did you mean 'width'?"),
        (["--cfg.aux.width={}"], "there is no value between the braces"),
        (["--cfg.aux.width={1,2}", "--parallel=0"], "of at least 1, got '0'"),
        (["--cfg.aux.width={1,2}", "--on=slrm()"], "nothing called 'slrm'"),
        (["--cfg.aux.width={1,2}", "--mode=most"], "`mode` is 'max' or 'min'"),
        (["--cfg.aux.width={1,a}"], "--cfg.aux.width=a"),
    ],
)
def test_mistakes_are_told_before_anything_starts(call, fake, tmp_path, flags, message):
    code, out, err = call(sweep.main, *fake, *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_that_is_not_there_is_told(call, tmp_path):
    (tmp_path / "sweeps").mkdir()
    code, _, err = call(sweep.ls, f"--workdir={tmp_path / 'sweep'}")
    assert code == 2
    assert "There is no sweep" in err
    assert "sweeps'?" in err
    code, _, err = call(sweep.ls, f"--workdir={tmp_path / 'sweeps'}")
    assert code == 2
    assert "is no folder of a sweep, as it has no 'sweep.json': it is empty" in err
    assert call(sweep.ls)[0] == 2


def test_a_command_of_two_words_is_found_before_that_of_one(capfd):
    assert main_lib.main(["kauldron", "sweep", "ls", "--help"]) == 0
    assert "how the runs of a sweep are doing" in capfd.readouterr().out.lower()
    assert main_lib.main(["kauldron", "sweep", "--help"]) == 0
    assert "--dry_run" in capfd.readouterr().out
