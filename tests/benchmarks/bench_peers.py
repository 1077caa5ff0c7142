"""Training by other tools, against what one writes by hand in the framework of each.

make bench

Each runs in an environment of its own, and only those that are named are measured:
`KAULDRON_PUBLISHED_PYTHON` is a Python with the published kauldron, `KAULDRON_LIGHTNING_PYTHON`
one with lightning, `KAULDRON_TORCH_PYTHON` one with transformers (and accelerate),
`KAULDRON_KERAS_PYTHON` one with keras and jax. The programs are in `peers/`; torch works with
one thread: what waits for another one is busy all the while, on a machine that others use.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.benchmarks import clocks, processes_of_steps
from tests.benchmarks import figures as figures_lib
from tests.benchmarks.peers import sizes

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

_FOLDER = pathlib.Path(__file__).parent / "peers"
_ROOT = _FOLDER.parents[2]
_NUM_ROUNDS = clocks.rounds(7)
_NUM_STARTS = clocks.rounds(5)
_NUM_STEPS = {"mlp": 300, "vit": 20, "decoder": 20}
_MODELS = {"mlp": "MLP", "vit": "ViT", "decoder": "decoder"}
_VARIABLES = {
    "Kauldron": ("kauldron_loop.py", ""),
    "published kauldron": ("kauldron_loop.py", "KAULDRON_PUBLISHED_PYTHON"),
    "Lightning": ("lightning_loop.py", "KAULDRON_LIGHTNING_PYTHON"),
    "transformers": ("transformers_loop.py", "KAULDRON_TORCH_PYTHON"),
    "Keras on JAX": ("keras_loop.py", "KAULDRON_KERAS_PYTHON"),
}


def _command(peer, *arguments):
    """Returns a command and its variables; skips if nobody has named the Python."""
    program, variable = _VARIABLES[peer]
    python = os.environ.get(variable) if variable else sys.executable
    if not python:
        pytest.skip(f"{variable} names no Python")
    paths = [str(_FOLDER.parent), *([] if variable else [str(_ROOT)])]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    env.pop("XLA_FLAGS", None)
    return [python, str(_FOLDER / program), *map(str, arguments)], env


@pytest.mark.parametrize("model", sizes.NAMES)
@pytest.mark.parametrize("peer", _VARIABLES)
def test_loop_of_a_tool(figures, tmp_path, peer, model):
    num_steps = _NUM_STEPS[model]
    command, env = _command(peer, model, "loop", num_steps, _NUM_ROUNDS)
    env["XDG_CACHE_HOME"] = str(tmp_path)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    tool, raw = ([clocks.Secs(*x) for x in found[name]] for name in ("tool", "raw"))
    raw_ms = clocks.medians(raw).wall * 1e3
    figures.ratio(
        f"step, {_MODELS[model]}: {peer}",
        tool,
        raw,
        against=f"its raw loop ({raw_ms:.3g} ms a step)",
        table="peers",
    )


@pytest.mark.parametrize("model", sizes.NAMES)
@pytest.mark.parametrize("peer", _VARIABLES)
def test_start_and_memory_of_a_tool(figures, tmp_path, peer, model):
    found = {"tool": [], "raw": []}
    for number in range(_NUM_STARTS):
        for name in found if number % 2 else reversed(found):
            command, env = _command(peer, model, "start", name)
            cache = tmp_path / f"{name}_{number}"  # nothing is compiled yet
            env["XDG_CACHE_HOME"] = str(cache)
            found[name].append(processes_of_steps.start(command, env, sizes.FIRST))
    tool, raw = ([secs for secs, _ in found[name]] for name in ("tool", "raw"))
    raw_secs = clocks.medians(raw).wall
    figures.ratio(
        f"command to first step, {_MODELS[model]}: {peer}",
        tool,
        raw,
        against=f"its raw script ({raw_secs:.3g} s)",
        table="peers",
    )
    pairs = list(zip(found["tool"], found["raw"], strict=True))
    raw_mib = clocks.spread(mib for _, mib in found["raw"]).median
    figures.number(
        f"peak memory, {_MODELS[model]}: {peer}",
        [a / b for (_, a), (_, b) in pairs],
        figures_lib.TIMES,
        against=f"its raw script ({raw_mib:.0f} MiB)",
        table="peers",
    )
