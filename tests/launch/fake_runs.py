"""A config file whose run is not a training, but leaves on disk what a training does.

It does a step every few milliseconds and keeps each; it can fail, wait, and be stopped and
continued. Loading it elsewhere, as a sweep does, gives its config.
"""

from __future__ import annotations

import pathlib
import textwrap

NUM_STEPS = 5

CONFIG = """
    import os, pathlib, signal, sys, time

    from etils import epath

    from kauldron import konfig
    from kauldron.workdir import json_lines, lock, run_status


    class Stopped(KeyboardInterrupt):
        pass


    def get_config():
        cfg = konfig.ConfigDict(
            {
                "workdir": konfig.placeholder(str),
                "seed": 0,
                "aux": {
                    "width": 1,
                    "rate": 0.5,
                    "act": "relu",
                    "num_steps": 5,
                    "fails": False,
                    "waits": False,
                    "step_secs": 0.0,
                },
            }
        )
        if sys.argv[0].endswith(os.path.join("kauldron", "main.py")):
            rest, overrides = konfig.split_overrides("cfg", sys.argv[1:])
            konfig.apply_overrides(cfg, overrides)
            sys.exit(run(cfg))
        return cfg


    def sweep():
        for width in (1, 2):
            yield {"aux.width": width}


    def sweep_act():
        yield {"aux.act": "relu"}
        yield {"aux.act": "gelu", "aux.rate": 0.25}


    def sweep_nothing():
        yield from ()


    def run(cfg):
        workdir = epath.Path(cfg.workdir)
        lock.make_writable(workdir)
        steps = pathlib.Path(workdir) / "steps.txt"
        try:
            with lock.owned(workdir):
                train(cfg, workdir, steps)
        except Stopped:
            return 75
        except ValueError as e:
            print(f"Error: {e}", file=sys.stderr)
            return 1
        return 0


    def train(cfg, workdir, steps):
        first = len(steps.read_text().split()) if steps.exists() else 0
        with open(workdir / "starts.txt", "a") as f:
            f.write(f"{first} {os.getpid()}\\n")
        stopped = []
        before = signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
        records = json_lines.RecordFile(workdir / json_lines.METRICS_FILE)
        last = cfg.aux.num_steps
        try:
            with run_status.report(
                workdir, step=first, last_step=last, is_new=not first
            ) as report:
                for step in range(first, last):
                    with open(steps, "a") as f:
                        f.write(f"{step}\\n")  # the step and its checkpoint, in one
                    value = cfg.aux.width / 10 + step / 100
                    records.append(step, "eval", {"metrics/accuracy": value})
                    report.step = step + 1
                    while cfg.aux.waits and not (workdir.parent / "go").exists():
                        if stopped:
                            raise Stopped("SIGTERM")
                        time.sleep(0.02)
                    time.sleep(cfg.aux.step_secs)
                    if stopped:
                        raise Stopped("SIGTERM")
                    if cfg.aux.fails and step >= 1:
                        raise ValueError("the loss is not finite")
        finally:
            signal.signal(signal.SIGTERM, before)
"""


def write(folder: pathlib.Path) -> str:
    """Writes the config file; returns its path."""
    path = folder / "fake.py"
    path.write_text(textwrap.dedent(CONFIG))
    return str(path)


def steps_of(workdir: pathlib.Path) -> list[int]:
    """Returns the steps that a run has done, in the order done."""
    return [int(x) for x in (workdir / "steps.txt").read_text().split()]


def first_steps_of(workdir: pathlib.Path) -> list[int]:
    """Returns at which step each start of a run began."""
    lines = (workdir / "starts.txt").read_text().splitlines()
    return [int(line.split()[0]) for line in lines]


def pids_of(workdir: pathlib.Path) -> list[int]:
    """Returns the processes of the starts of a run."""
    lines = (workdir / "starts.txt").read_text().splitlines()
    return [int(line.split()[1]) for line in lines]
