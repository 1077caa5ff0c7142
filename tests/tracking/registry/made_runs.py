"""Workdirs as runs leave them, without a training."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

_NOW = 1_800_000_000.0


def make(
    workdir: pathlib.Path,
    *,
    config: Mapping[str, Any] | None = None,
    curve: Sequence[float | str] = (),
    state: str | None = "done",
    started: float = _NOW,
    records: Sequence[Mapping[str, Any]] = (),
) -> pathlib.Path:
    """Makes a workdir; `curve` is of `eval.accuracy`, at steps 0, 10, 20, ..."""
    workdir.mkdir(parents=True, exist_ok=True)
    config = {"__qualname__": "kauldron.kd:train.Trainer", "seed": 0, **(config or {})}
    (workdir / "config.json").write_text(json.dumps(config))
    if state is not None:
        write_status(workdir, state=state, started=started)
    lines = [
        {"step": 10 * i, "collection": "eval", "metrics/accuracy": value}
        for i, value in enumerate(curve)
    ]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, *records])
    if text:
        (workdir / "metrics.jsonl").write_text(text)
    return workdir


def write_status(workdir: pathlib.Path, **fields: Any) -> None:
    """Writes `status.json`; of a process on another machine, alive if it is running."""
    status = {
        "state": "done",
        "run_id": "0",
        "first_step": 0,
        "step": 100,
        "last_step": 100,
        "pid": 1,
        "host": "elsewhere",
        "started": _NOW,
        "heartbeat": time.time(),
        **fields,
    }
    (workdir / "status.json").write_text(json.dumps(status))
