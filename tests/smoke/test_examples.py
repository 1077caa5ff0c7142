"""Every example config, and every command of the README, runs."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from kauldron import konfig

pytestmark = pytest.mark.smoke

ROOT = pathlib.Path(__file__).parents[2]
# TFDS would download the data of `mnist_autoencoder.py`, evaluators run beside the
# training or train themselves, some need another run, and those of language models and of
# volumes fetch their data: each has a test of its own.
_APART = (
    "mnist_autoencoder.py",
    "digits_standalone_eval.py",
    "digits_eval_only.py",
    "digits_readout.py",
    "digits_train_evaluator.py",
    "lm_pretrain.py",
    "lm_sft.py",
    "lm_dpo.py",
    "lm_grpo.py",
    "volumes_segmentation.py",
    "volumes_synthesis.py",
    "volumes_registration.py",
    "app_brain.py",
)
EXAMPLES = sorted(
    p.name
    for p in (ROOT / "examples").glob("*.py")
    if "def get_config" in p.read_text() and p.name not in _APART
)


def run(command, **kwargs):
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    env["PYTHONPATH"] = str(ROOT)
    env["PATH"] = f"{pathlib.Path(sys.executable).parent}:{env['PATH']}"
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, **kwargs
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_trains_is_evaluated_and_saved(example, tmp_path):
    result = run(
        [
            *(sys.executable, "-m", "kauldron.main", f"--cfg=examples/{example}"),
            *(f"--cfg.workdir={tmp_path}", "--cfg.num_train_steps=4"),
            *("--cfg.log_metrics_every=2", "--cfg.evals.eval.run.n=2"),
        ]
    )
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    steps = {(r["collection"], r["step"]) for r in records}
    assert steps == {("train", 0), ("train", 2), ("eval", 0), ("eval", 2), ("eval", 4)}
    assert (tmp_path / "checkpoints" / "ckpt_4").is_dir()


def _records_of(example, workdir, *flags):
    """Runs an example; returns what it wrote."""
    config = f"--cfg=examples/{example}"
    command = [sys.executable, "-m", "kauldron.main", config, *flags]
    result = run([*command, f"--cfg.workdir={workdir}"])
    assert result.returncode == 0, result.stderr
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_finished_run_is_measured_anew(tmp_path, a_run):
    source = f"--cfg.aux.workdir={a_run}"
    records = _records_of("digits_eval_only.py", tmp_path, source)
    evaluated = {(r["collection"], r["step"]) for r in records}
    assert evaluated == {("train_digits", 2), ("test_digits", 2)}
    for record in records:
        assert record["metrics/top1"] <= record["metrics/top3"] <= 1


def test_a_readout_starts_from_the_parameters_of_another_run(tmp_path):
    short = ("--cfg.num_train_steps=2", "--cfg.evals.eval.run.n=2")
    _records_of("digits_autoencoder.py", tmp_path / "source", *short)
    source = f"--cfg.aux.source={tmp_path}/source"
    records = _records_of("digits_readout.py", tmp_path / "readout", source, *short)
    evaluated = [r for r in records if r["collection"] == "eval"]
    assert [r["step"] for r in evaluated] == [0, 2]
    assert "metrics/accuracy" in evaluated[-1]


def test_a_training_is_judged_by_readouts(tmp_path):
    flags = ("--cfg.num_train_steps=4", "--cfg.evals.readout.run.n=4")
    records = _records_of("digits_train_evaluator.py", tmp_path, *flags)
    judged = [r for r in records if r["collection"] == "readout_eval"]
    assert [r["step"] for r in judged] == [0, 4]
    assert all(r["metrics/accuracy"] > 0.2 for r in judged)  # of a chance of 0.1


def test_example_is_evaluated_beside_the_training(tmp_path):
    command = [
        *(sys.executable, "-m", "kauldron.main"),
        "--cfg=examples/digits_standalone_eval.py",
        *(f"--cfg.workdir={tmp_path}", "--cfg.num_train_steps=4"),
    ]
    names = "--eval_names=test,train_subset,final"
    for args in ([], [names]):
        result = run([*command, *args])
        assert result.returncode == 0, result.stderr
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    evaluated = {(r["collection"], r["step"]) for r in records}
    assert evaluated == {
        ("train", 0),
        *((name, step) for name in ("test", "train_subset") for step in (0, 4)),
        ("final", 4),
    }
    kauldron = [sys.executable, "-m", "kauldron.cli.main", "eval"]
    args = (f"--workdir={tmp_path}", "--trust=examples", "--eval_names=final")
    result = run([*kauldron, *args])
    assert result.returncode == 0, result.stderr
    assert "final      losses/total" in result.stdout


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """Runs are signed, as those of users are; with a key of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAULDRON_SIGN_RUNS", "1")
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def a_run(tmp_path_factory, signed):
    """The workdir of a short run."""
    workdir = tmp_path_factory.mktemp("run")
    command = [sys.executable, "-m", "kauldron.main", f"--cfg.workdir={workdir}"]
    config = "--cfg=examples/digits_classifier.py"
    assert run([*command, config, "--cfg.num_train_steps=2"]).returncode == 0
    return workdir


def test_mnist_autoencoder_trains_on_mocked_data(tmp_path):
    import tensorflow_datasets as tfds

    from examples import mnist_autoencoder

    cfg = mnist_autoencoder.get_config()
    cfg.workdir = str(tmp_path)
    cfg.num_train_steps = 3
    cfg.evals.eval.run[0] = 3
    with tfds.testing.mock_data(num_examples=600):
        state, _ = konfig.resolve(cfg).train()
    assert state.step == 3
    assert "tensorflow" not in sys.modules


def _readme_commands():
    pages = ("README.md", "docs/index.md", "docs/inspect.md")
    text = "\n".join((ROOT / page).read_text() for page in pages)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    commands = [line for line in lines if line.startswith(("kauldron", "python"))]
    return list(dict.fromkeys(commands))


@pytest.mark.parametrize("command", _readme_commands())
def test_command_of_the_readme_works(command, tmp_path, a_run):
    args = [
        f"--cfg.workdir={tmp_path}" if arg.startswith("--cfg.workdir=") else arg
        for arg in shlex.split(command, comments=True)
    ]
    # A command that looks at the run made above it.
    args = [re.sub(r"^(--workdir=)?runs/digits$", rf"\1{a_run}", arg) for arg in args]
    args = [re.sub("^--workdir=runs/", f"--workdir={tmp_path}/", arg) for arg in args]
    args = [re.sub("^--out=(runs/)?", f"--out={tmp_path}/", arg) for arg in args]
    result = run(args)
    is_diff = (
        "diff" in args
    )  # of a run with fewer steps: as `diff`, 1 if anything differs
    assert result.returncode == int(is_diff), result.stderr
    trains = bool({"train", "kauldron.main", "repro"} & set(args))
    trains |= "profile" in args and "--out" in command  # else it looks at one step
    assert ("Finished" in result.stderr) == trains
    assert trains or result.stdout


def test_python_blocks_of_the_readme_run_one_after_the_other(tmp_path):
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    file = tmp_path / "readme.py"
    file.write_text("\n".join(blocks))
    result = run([sys.executable, str(file)])
    assert result.returncode == 0, result.stderr
    assert "losses/recon" in result.stdout
