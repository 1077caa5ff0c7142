"""What a person sees: the layout, a real terminal, a notebook, lines elsewhere."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import time
import types

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from kauldron import kd
from kauldron._base import console
from kauldron.recording import _progress_display
from kauldron.recording import progress as progress_lib
from kauldron.utils import chrono as chrono_lib
from tests.train import small_run

ROOT = pathlib.Path(__file__).parents[2]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def _values(loss=0.5, **metrics):
    return kd.train.AuxiliariesOutput(
        loss_values={"losses/a": loss, "losses/total": np.float32(loss)},
        metric_values={f"metrics/{k}": v for k, v in metrics.items()},
        summary_values={},
    )


def _progress_after(clock, *, num_steps=20):
    """20 of 100 steps of 0.5 s, after 3 s of compiling and 2 s of an evaluation."""
    chrono = chrono_lib.Chrono(batch_size=32, clock=clock)
    progress = progress_lib.Progress(0, 100, chrono=chrono, label="demo")
    chrono.start_loop()
    with chrono.pause("evals_along_train"):
        clock.now += 2
    with chrono.pause("compile"):
        clock.now += 3
    progress.snapshot()
    for step in range(num_steps):
        since = chrono.now()
        clock.now += 0.1
        chrono.add_data_wait(since)
        clock.now += 0.4
        progress.step = step + 1
    return progress, chrono


def test_rate_and_remaining_time_leave_compiling_and_the_start_out():
    clock = Clock()
    progress, _ = _progress_after(clock)
    shot = progress.snapshot()
    assert shot.done == pytest.approx(0.2)
    assert shot.fields == ["20/100", "2 steps/s", "ETA 0:00:40", "64 examples/s"]
    assert shot.lines == [
        # Of 15 s: 8 s, 2 s, 2 s, 3 s.
        ["steps 53%", "data 13%", "eval 13%", "compile 20% (3.0 s)"]
    ]


def test_line_of_the_first_step_of_a_process_has_no_rate(capsys):
    """The time before it was that of starting."""
    progress = progress_lib.Progress(10, 100, chrono=chrono_lib.Chrono(clock=Clock()))
    for step in (10, 12):
        progress.show(step, _values(), {"perf_stats/steps_per_sec": 2.0})
    first, second = capsys.readouterr().err.splitlines()
    assert "steps/s" not in first
    assert "2 steps/s  ETA 0:00:44" in second


def test_evaluations_to_come_are_part_of_the_remaining_time():
    clock = Clock()
    progress, chrono = _progress_after(clock)
    with chrono.pause("evals_along_train"):
        clock.now += 10
        assert "evaluating…" in progress.snapshot().fields
    # 80 steps take 40 s, and evaluations as much: 10 s of them on 10 s of steps.
    assert "ETA 0:01:20" in progress.snapshot().fields


def test_losses_metrics_and_evaluations_are_shown(capfd):
    clock = Clock()
    progress, _ = _progress_after(clock)
    table = np.zeros((2, 2))
    progress.show(
        19, _values(accuracy=0.25, table=table), {"perf_stats/steps_per_sec": 2}
    )
    progress.show_evaluation("test", 20, _values(accuracy=0.125))
    assert progress.snapshot().lines[:2] == [
        ["loss 0.5", "accuracy 0.25"],
        ["[test] step 20", "loss 0.5", "accuracy 0.125"],
    ]
    assert capfd.readouterr().err.splitlines() == [
        "step  19/100  loss 0.5  accuracy 0.25  2 steps/s  ETA 0:00:40",
        "  [test] step 20  loss 0.5  accuracy 0.125",
    ]


_WORDS = st.lists(st.text("abc ", max_size=12), max_size=6)


@hypothesis.given(
    st.text("ab", max_size=30),
    st.floats(0, 1),
    _WORDS,
    st.lists(_WORDS, max_size=3),
    st.integers(12, 120),
)
def test_no_line_is_wider_than_the_terminal(label, done, fields, lines, width):
    shot = _progress_display.Snapshot(
        label=label, done=done, fields=fields, lines=lines
    )
    rows = _progress_display.layout(shot, width)
    assert len(rows) == 1 + len(lines)
    for row in rows:
        assert len("".join(text for text, _ in row)) <= width


def test_narrow_terminal_keeps_the_first_words():
    shot = _progress_display.Snapshot(
        label="train", done=0.5, fields=["5/10", "2 steps/s", "ETA 0:01:00"], lines=[]
    )
    [wide], [narrow] = (_progress_display.layout(shot, width) for width in (80, 40))
    assert "".join(x for x, _ in wide).endswith("50%  5/10  2 steps/s  ETA 0:01:00")
    assert "".join(x for x, _ in narrow).endswith("50%  5/10  2 steps/s")


_PROGRAM = """
import logging, sys, time, warnings
logging.basicConfig(format="%(message)s")
from kauldron.recording import chrono
from kauldron.recording import progress as progress_lib
from kauldron.utils import status_utils
clock = chrono.Chrono()
progress = progress_lib.Progress(0, 10, chrono=clock)
before = sys.stderr
try:
    with progress:
        clock.start_loop()
        progress.step = 7
        time.sleep(0.7)
        print("printed")
        warnings.warn("warned")
        logging.warning("logged")
        status_utils.log("told")
        time.sleep(0.7)
        raise RuntimeError("failed")
finally:
    assert sys.stderr is before
    assert logging.root.handlers[0].stream is before
    print("after", file=sys.stderr)
"""


def _run_in_terminal(program):
    """Returns all that a program writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "60"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    output = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            output += os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
    process.wait()
    os.close(ours)
    return output.decode()


def _screen(output):
    """Returns the lines that are left after all movements of the cursor."""
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", output):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif match := re.fullmatch(r"\x1b\[(\d*)A", token):
            row -= int(match[1] or 1)
        elif token != "\r" and not token.startswith("\x1b"):
            lines[row] += token
    return [line.rstrip() for line in lines]


def test_terminal_is_neither_garbled_nor_left_changed_by_an_exception():
    output = _run_in_terminal(_PROGRAM)
    lines = _screen(output)
    bar = next(i for i, line in enumerate(lines) if line.startswith("train ━"))
    above = "\n".join(lines[:bar])
    for word in ("printed", "UserWarning: warned", "logged", "told"):
        assert above.count(word) == 1
    assert " 70%  7/10" in lines[bar]
    assert sum("━" in line for line in lines) == 1
    assert lines[bar + 1].startswith("  steps ")
    assert lines[bar + 2] == "after"
    assert "RuntimeError: failed" in lines
    # The cursor is on at the end, and during the run: nobody could show it again for a
    # process that is killed.
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")


def test_notebook_cell_is_updated_in_place(monkeypatch, capfd):
    shown, updates = [], []

    class Handle:
        def update(self, bundle, *, raw):
            assert raw
            updates.append(bundle)

    def display(bundle, *, raw, display_id):
        assert raw
        assert display_id
        shown.append(bundle)
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    clock = Clock()
    progress, _ = _progress_after(clock)
    with progress:
        progress.show(20, _values(accuracy=0.25), {})
        progress.show_evaluation("<b>", 20, _values())
    assert len(shown) == 1
    assert "loss 0.5  accuracy 0.25" in updates[-1]["text/plain"]
    assert '<progress max="1" value="0.2000">' in updates[-1]["text/html"]
    assert "[&lt;b&gt;] step 20" in updates[-1]["text/html"]
    assert capfd.readouterr().err == ""


def test_display_that_cannot_be_drawn_is_reported_and_the_run_goes_on(
    monkeypatch, capfd
):
    def start(snapshot):
        raise OSError("no screen")

    monkeypatch.setattr(_progress_display, "start", start)
    with progress_lib.Progress(0, 10, chrono=chrono_lib.Chrono()) as progress:
        progress.show(5, _values(), {})
    err = capfd.readouterr().err
    assert "the progress cannot be shown: OSError('no screen')" in err
    assert "step  5/10  loss 0.5" in err


def test_importing_the_package_loads_neither_rich_nor_ipython():
    code = "import sys; from kauldron import kd; print({'rich', 'IPython'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "set()\n"


def _snapshots(step_secs, num_steps):
    """Those right after each step of a run of steps that all take as long."""
    clock = Clock()
    chrono = chrono_lib.Chrono(clock=clock)
    progress = progress_lib.Progress(0, 100, chrono=chrono)
    chrono.start_loop()
    for step in range(num_steps + 1):
        progress.step = step
        yield progress.snapshot().fields
        clock.now += step_secs


@pytest.mark.parametrize(
    ("step_secs", "expected"),
    [(30.0, "0.0333 steps/s"), (0.5, "2 steps/s"), (0.01, "100 steps/s")],
)
def test_steps_have_a_rate_however_long_they_take(step_secs, expected):
    first, *others = _snapshots(step_secs, 40)
    assert first == ["0/100"]
    assert {fields[1] for fields in others} == {expected}


def test_rate_is_that_of_the_last_seconds():
    clock = Clock()
    chrono = chrono_lib.Chrono(clock=clock)
    progress = progress_lib.Progress(0, 10_000, chrono=chrono)
    chrono.start_loop()
    for secs, num_steps in [(1.0, 30), (0.1, 200)]:
        for _ in range(num_steps):
            clock.now += secs
            progress.step += 1
            fields = progress.snapshot().fields
    assert fields[1] == "10 steps/s"


@pytest.mark.parametrize(
    ("step", "last_step", "expected"), [(0, 0, 1), (0, 8, 0), (2, 8, 0.25), (9, 8, 1)]
)
def test_share_that_is_done_ends_with_the_whole(step, last_step, expected):
    chrono = chrono_lib.Chrono(clock=Clock())
    progress = progress_lib.Progress(step, last_step, chrono=chrono)
    assert progress.snapshot().done == expected


def test_a_display_has_room_for_five_numbers_and_eight_evaluations(capfd):
    progress = progress_lib.Progress(0, 10, chrono=chrono_lib.Chrono(clock=Clock()))
    for i in range(10):
        progress.show_evaluation(f"e{i}", 5, _values(a=1.0, b=2.0, c=3.0, d=4.0, e=5.0))
    lines = progress.snapshot().lines
    assert [line[0] for line in lines[:-1]] == [f"[e{i}] step 5" for i in range(8)]
    assert lines[0][1:] == ["loss 0.5", "a 1", "b 2", "c 3", "d 4"]


def test_losses_of_training_and_evaluation_become_curves():
    progress, _ = _progress_after(Clock())
    for step in (10, 20):
        progress.show(step, _values(), {})
        progress.show_evaluation("test", step, _values())
    shot = progress.snapshot()
    assert shot.losses == {
        "demo": ([10, 20], [0.5, 0.5]),
        "test": ([10, 20], [0.5, 0.5]),
    }
    picture = _progress_display._picture(shot)
    assert picture.count("<polyline") == 2 and "test: 0.5" in picture


def test_a_curve_of_a_long_run_keeps_its_form_in_bounded_memory():
    progress, _ = _progress_after(Clock())
    for step in range(5000):
        progress.show(step, _values(), {})
    steps, _ = progress.snapshot().losses["demo"]
    assert 400 <= len(steps) <= 1000
    assert steps[0] == 0 and steps == sorted(steps) and steps[-1] >= 4998


def test_the_first_line_of_a_log_does_not_wait_for_the_description(
    tmp_path, monkeypatch
):
    events = []

    class Describing(kd.train.NoopWriter):
        def describe(self, step, run):
            events.append("described")

    def log(line):
        events.extend(["told"] if line.startswith("step 0") else [])

    compute_numbers = kd.train.AuxiliariesState.compute_numbers

    def slowly(self, *args):
        time.sleep(0.3)
        return compute_numbers(self, *args)

    monkeypatch.setattr(console, "log", log)
    monkeypatch.setattr(kd.train.AuxiliariesState, "compute_numbers", slowly)
    small_run.make_trainer(
        tmp_path, num_train_steps=1, writer=Describing(), evals={}
    ).train()
    assert events == ["told", "described"]
