"""From the command to the end of the first step, and memory: processes of their own.

make bench
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.benchmarks import clocks, processes_of_steps
from tests.benchmarks import figures as figures_lib

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

NUM_ROUNDS = clocks.rounds(7)
_PROGRAMS = {
    "raw": ["-m", "tests.benchmarks.raw_digits"],
    "recorded": ["-m", "tests.benchmarks.raw_digits_recorded"],
}
_PROGRAMS["ours"] = [
    *("-m", "kauldron.main", "--cfg=examples/digits_classifier.py"),
    *("--cfg.stop_after_steps=1", "--cfg.checkpointer=None", "--cfg.evals=None"),
]


# Script -> what it is, and what ours may take and need of it.
_SCRIPTS = {
    "raw": ("a raw script", 1.0, 1.02),
    "recorded": (
        "a raw script that checks, records and writes the same by hand",
        None,
        None,
    ),
}
_WORKDIRS = {"ours": "--cfg.workdir", "recorded": "--workdir"}


@pytest.mark.parametrize("is_compiled", [False, True], ids=["cold", "warm"])
def test_command_to_first_step_and_peak_memory(tmp_path, figures, is_compiled):
    new, memory = iter(range(10**6)), {name: [] for name in _PROGRAMS}

    def run(name):
        number = next(new)
        cache = tmp_path / f"cache_{name}" / ("" if is_compiled else str(number))
        env = {
            **processes_of_steps.environment(),
            "XDG_CACHE_HOME": str(cache),
        }
        if name != "ours" and is_compiled:
            env["JAX_COMPILATION_CACHE_DIR"] = str(cache)
            env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.005"  # as ours
        arguments = list(_PROGRAMS[name])
        if name in _WORKDIRS:
            arguments.append(f"{_WORKDIRS[name]}={tmp_path}/run_{number}")
        secs, mib = processes_of_steps.start(
            [sys.executable, "-u", *arguments], env, "step 0"
        )
        memory[name].append(mib)
        return secs

    secs = clocks.in_turn({k: lambda k=k: run(k) for k in memory}, NUM_ROUNDS)
    programs = "all programs compiled before" if is_compiled else "nothing compiled"
    for name, (script, most_time, most_memory) in _SCRIPTS.items():
        figures.ratio(
            f"command to first step, {programs}, against {script}",
            secs["ours"],
            secs[name],
            against=f"the script ({clocks.medians(secs[name]).wall:.2g} s)",
            budget=most_time,
        )
        figures.number(
            f"peak memory of the same, {programs}, against {script}",
            [a / b for a, b in zip(memory["ours"], memory[name], strict=True)],
            figures_lib.TIMES,
            against=f"the script ({clocks.spread(memory[name]).median:.0f} MiB)",
            budget=most_memory,
        )


_FIRST_USE = """
import time
import flax.linen, grain, jax, optax, orbax.checkpoint
start = time.process_time()
from kauldron import kd
kd.train.Trainer
print(time.process_time() - start)
"""


def test_first_use_of_the_trainer(figures):
    command = [sys.executable, "-c", _FIRST_USE]
    env = processes_of_steps.environment()
    secs = [float(subprocess.check_output(command, env=env)) for _ in range(NUM_ROUNDS)]
    figures.number(
        "`kd.train.Trainer` first used, beyond importing jax, flax, optax, orbax and grain, "
        "processor time",
        secs,
        "s",
        budget=0.2,
    )


_LONG = """
import json, sys
from tests.benchmarks import clocks, loops, small_models
from kauldron import kd

sizes = {}

class Look(kd.evals.EvaluatorBase):
    def evaluate(self, state, step):
        with open("/proc/self/statm") as file:
            sizes[step] = int(file.read().split()[1]) * 4096 / 2**20

loops.make_trainer(
    sys.argv[1],
    small_models.points(),
    num_train_steps=100_000,
    log_metrics_every=100,
    evals={"look": Look(run=kd.evals.EveryNSteps(10_000))},
).train()
print(json.dumps(sizes))
"""


def test_memory_of_100_000_steps(tmp_path, figures):
    done = subprocess.run(
        [sys.executable, "-c", _LONG, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sizes = {int(k): v for k, v in json.loads(done.stdout.splitlines()[-1]).items()}
    print({step: round(mib, 1) for step, mib in sizes.items()})
    figures.number(
        "resident memory at step 100,000 beyond that at step 10,000, logged every 100",
        [sizes[100_000] - sizes[10_000]],
        "MiB",
        budget=5,
    )
