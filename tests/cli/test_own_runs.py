"""Runs of your own are trusted on the command line; `--trust` is for others."""

from __future__ import annotations

from absl import flags

from kauldron.cli import _flags, command_table, run, train


def test_commands_need_no_trust_for_a_run_of_your_own(call, tmp_path, monkeypatch):
    monkeypatch.setenv("KAULDRON_SIGN_RUNS", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    folder = tmp_path / "digits"
    code, _, err = call(
        train.main,
        "--cfg=examples/digits_classifier.py",
        f"--cfg.workdir={folder}",
        "--cfg.num_train_steps=1",
        "--cfg.evals={}",
    )
    assert code == 0, err
    code, out, err = call(run.check, f"--cfg={folder}")
    assert code == 0, err
    code, out, err = call(run.sharding, f"--cfg={folder / 'config.json'}")
    assert code == 0, err
    assert "params.layers_0.kernel" in out
    (folder / "config.signature").unlink()
    code, _, err = call(run.check, f"--cfg={folder}")
    assert code == 2
    assert "--trust=examples" in err


def test_a_list_that_is_given_twice_is_added_up():
    values = flags.FlagValues()
    command = command_table.COMMANDS["run check"]
    argv = ["kauldron", "--trust=a", "--trust=b,c"]
    line = _flags.CommandLine(argv, values, command)
    assert line["trust"] == ["a", "b", "c"]
