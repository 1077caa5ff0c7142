"""Pages over 10,000 runs of 30 parameters and 20 metrics: how long until they show.

make bench

`BENCH_TRACKING_RUNS` says how many runs there are, 10,000 unless given. They are made
once, in the folder `BENCH_TRACKING_FOLDER` if that is given.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
import sys
import time
import urllib.request

import pytest

from kauldron import tracking
from kauldron.tracking.comparing import run_source
from tests.benchmarks import clocks, many_runs

pytestmark = pytest.mark.bench

NUM_RUNS = int(os.environ.get("BENCH_TRACKING_RUNS", "10000"))
_NUM_REPEATS = 7
# What a process prints as soon as it shows something: when, and what it has computed.
_TELL = "print(time.time(), time.process_time(), flush=True)"
# An app that shows one line.
_EMPTY = f"""
import asyncio, os, time
from textual.app import App
from textual.widgets import Footer, Static

class Empty(App):
    def compose(self):
        yield Static("hello")
        yield Footer()

async def main():
    app = Empty()
    async with app.run_test(size=(130, 40)) as pilot:
        await pilot.pause()
        assert "hello" in str(app.query_one(Static).render())
        {_TELL}
        os._exit(0)

asyncio.run(main())
"""
# The first rows are on the screen; or all runs are in the table.
_RUNS = f"""
import asyncio, os, sys, time
from kauldron import tracking
from kauldron.tracking.pages.terminal import app as app_lib, runs_table

async def main():
    app = app_lib.RunsApp(tracking.Registry.open())
    async with app.run_test(size=(130, 40)) as pilot:
        while not app.screen.query(runs_table.RunsTable):
            await asyncio.sleep(0.002)
        table = app.screen.query_one(runs_table.RunsTable)
        while len(table.runs) < int(sys.argv[1]):
            await asyncio.sleep(0.002)
        assert "run_" in "".join(s.text for s in table.render_line(1))
        {_TELL}
        os._exit(0)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    given = os.environ.get("BENCH_TRACKING_FOLDER")
    folder = pathlib.Path(given) if given else tmp_path_factory.mktemp("runs")
    if not (folder / "kauldron.yaml").exists():
        rng = random.Random(0)
        many_runs.fill(folder, [many_runs.values(rng) for _ in range(NUM_RUNS)])
    return folder


def _until_shown(program: str, cwd: pathlib.Path, *args: str) -> clocks.Secs:
    """Returns how long it takes until something is shown: a process, from its start."""
    root = pathlib.Path(__file__).parents[2]
    begin = time.time()
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    shown, cpu = map(float, done.stdout.split())
    return clocks.Secs(shown - begin, cpu)


def test_first_screen(workspace, figures):
    programs = {
        "Textual alone": (_EMPTY, workspace),
        "first screen": (_RUNS, workspace, "1"),
        "all runs": (_RUNS, workspace, str(NUM_RUNS)),
    }
    secs = clocks.in_turn(
        {
            name: lambda program=program: _until_shown(*program)
            for name, program in programs.items()
        }
    )
    for name, budget in (("first screen", 1.0), ("all runs", None)):
        pairs = list(zip(secs[name], secs["Textual alone"], strict=True))
        for clock, which in (("wall", ""), ("processor", ", processor time")):
            figures.number(
                f"{name} of `kauldron ui`, {NUM_RUNS:,} runs, beyond an empty Textual app"
                + which,
                [getattr(a, clock) - getattr(b, clock) for a, b in pairs],
                "s",
                budget=budget,
            )


def test_web_page(workspace, figures):
    import threading

    with tracking.PageServer(tracking.Registry.open(workspace)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def fetch():
            with urllib.request.urlopen(f"{server.url}api/runs?limit=100") as response:
                return response.read()

        answers = [clocks.measured(fetch) for _ in range(_NUM_REPEATS)]
        server.shutdown()
    assert json.loads(answers[0][0])["total"] == NUM_RUNS
    figures.number(
        f"list of 100 of {NUM_RUNS:,} runs, `kauldron ui --web`",
        [secs.wall for _, secs in answers],
        "s",
    )


def test_compare_a_hundred(workspace, figures):
    registry = tracking.Registry.open(workspace)
    names = [str(i) for i in range(1, 101)]

    def compare():
        runs = run_source.chosen_runs(registry, names, at_least=2)
        return str(tracking.compare(runs))

    secs = [clocks.measured(compare)[1] for _ in range(_NUM_REPEATS)]
    figures.number("100 runs compared", [s.wall for s in secs], "s")
