"""What holds of any database while many processes write to it and some are killed."""

from __future__ import annotations

import pathlib
import random
import subprocess
import sys
import time

from kauldron import kd

ROOT = pathlib.Path(__file__).parents[3]


def check_that_nothing_is_lost(
    place: str, folder: pathlib.Path, *, processes: int, runs_each: int, kills: int
) -> None:
    """Starts processes that write at once, kills some, and looks at what is left."""
    folder.mkdir()
    module = "tests.tracking.registry.writer_process"
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                module,
                place,
                folder,
                str(1000 * i),
                str(runs_each),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    rng = random.Random(0)
    for i, victim in enumerate(rng.sample(started, kills)):
        # Spread over the first half of the work.
        enough = (i + 1) * processes * runs_each / kills / 2
        while len(list(folder.iterdir())) < enough and victim.poll() is None:
            time.sleep(0.01)
        victim.kill()
    told: dict[int, str] = {}
    for process in started:
        out, err = process.communicate(timeout=240)
        assert process.returncode in (0, -9) and not err, err
        if process.returncode == 0:
            assert len(out.splitlines()) == runs_each
        for line in out.splitlines():
            if len(words := line.split()) == 2:
                told[int(words[0])] = words[1]
    registry = kd.tracking.Registry.open(place)
    runs = {run.parameters["number"]: run for run in registry.runs()}
    assert len({run.id for run in registry.runs()}) == len(runs)
    for number, run_id in told.items():
        run = runs[number]
        assert run.id == run_id
        assert run.tags == ("new", f"tag{number}")
        assert run.project == f"project{number % 3}"
        assert run.metrics["eval.accuracy"].last == number / 100
    # What was killed in between is found by its files.
    registry.index(folder)
    there = {int(path.parent.name[3:]) for path in folder.glob("run*/metrics.jsonl")}
    assert there <= {run.parameters.get("number") for run in registry.runs()}
