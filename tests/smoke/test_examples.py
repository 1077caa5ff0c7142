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

pytestmark = pytest.mark.smoke

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = sorted(
    p.name for p in (ROOT / "examples").glob("*.py") if "get_config" in p.read_text()
)


def _run(command, **kwargs):
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    env["PATH"] = f"{pathlib.Path(sys.executable).parent}:{env['PATH']}"
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, **kwargs
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_trains_is_evaluated_and_saved(example, tmp_path):
    result = _run(
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


def _readme_commands():
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if "kauldron" in line]


@pytest.mark.parametrize("command", _readme_commands())
def test_command_of_the_readme_works(command, tmp_path):
    args = [
        f"--cfg.workdir={tmp_path}" if arg.startswith("--cfg.workdir=") else arg
        for arg in shlex.split(command, comments=True)
    ]
    result = _run(args)
    assert result.returncode == 0, result.stderr
    assert "Finished" in result.stderr
