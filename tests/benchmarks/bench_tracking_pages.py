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
import statistics
import subprocess
import sys
import time
import urllib.request
from typing import NamedTuple

import pytest

from kauldron import tracking
from kauldron.tracking.comparing import run_source
from tests.benchmarks import many_runs

pytestmark = pytest.mark.bench

NUM_RUNS = int(os.environ.get("BENCH_TRACKING_RUNS", "10000"))
_NUM_REPEATS = 5
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


class Secs(NamedTuple):
    """How long it takes until something is shown, and how much of it is computing."""

    wall: float
    cpu: float


def _secs(program: str, cwd: pathlib.Path, *args: str) -> Secs:
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
    return Secs(shown - begin, cpu)


def test_first_screen(workspace):
    programs = {
        "Textual alone": (_EMPTY, workspace),
        "first screen": (_RUNS, workspace, "1"),
        "all runs": (_RUNS, workspace, str(NUM_RUNS)),
    }
    taken = {name: [] for name in programs}
    for _ in range(_NUM_REPEATS):
        for name, program in programs.items():
            taken[name].append(_secs(*program))
    best = {name: Secs(*map(min, zip(*t, strict=True))) for name, t in taken.items()}
    told = (
        f"{name} {secs.wall:.2f} s ({secs.cpu:.2f} s CPU)"
        for name, secs in best.items()
    )
    print(f"\nkauldron ui, {NUM_RUNS:,} runs, until shown: {', '.join(told)}")
    # Computing, so that what else the machine does makes no difference.
    assert best["first screen"].cpu - best["Textual alone"].cpu <= 1.0


def test_web_page(workspace):
    import threading

    with tracking.PageServer(tracking.Registry.open(workspace)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        times, content = [], b""
        for _ in range(_NUM_REPEATS):
            begin = time.perf_counter()
            with urllib.request.urlopen(f"{server.url}api/runs?limit=100") as response:
                content = response.read()
            times.append(time.perf_counter() - begin)
        server.shutdown()
    assert json.loads(content)["total"] == NUM_RUNS
    print(
        f"\nui --web, {NUM_RUNS:,} runs: {statistics.median(times):.2f} s for the list, "
        f"{len(content) / 1e3:.0f} kB"
    )


def test_compare_a_hundred(workspace):
    registry = tracking.Registry.open(workspace)
    begin = time.perf_counter()
    names = [str(i) for i in range(1, 101)]
    runs = run_source.chosen_runs(registry, names, at_least=2)
    text = str(tracking.compare(runs))
    print(
        f"\n100 runs compared in {time.perf_counter() - begin:.2f} s, {len(text)} bytes"
    )
