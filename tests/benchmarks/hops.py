"""How far a call travels: visits to files of kauldron on the way to what it is for.

    python -m tests.benchmarks.hops

A visit is a change of the file, within kauldron, along the sequence of calls. Fewer means
that less has to be held in mind to follow a call in a debugger. Before the rooms were
redesigned (commit 94742c6): 57 visits for one flag, 64 for a step.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import numpy as np
import optax

import kauldron
from kauldron import kd, konfig

_ROOT = f"{pathlib.Path(kauldron.__file__).parent}/"


class _Reached(Exception):
    """The call that was to be reached."""


def list_visits(
    function: Callable[[], Any], *, until: Callable[..., Any] | None = None
) -> list[str]:
    """Returns the files of kauldron that a call visits, in order.

    Args:
      function: What to call.
      until: A function at whose first call to stop; by default, `function` is finished.
    """
    visits: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        del argument
        filename = frame.f_code.co_filename
        if event != "call" or not filename.startswith(_ROOT):
            return
        filename = filename.removeprefix(_ROOT)
        if not visits or visits[-1] != filename:
            visits.append(filename)
        if until is not None and frame.f_code is until.__code__:
            raise _Reached

    sys.setprofile(note)
    try:
        function()
    except _Reached:
        pass
    finally:
        sys.setprofile(None)
    return visits


def visits_of_a_flag() -> list[str]:
    """Returns the visits of `--cfg.x.denominator=5`, for a config of one call."""
    with konfig.imports():
        import fractions

    def apply() -> None:
        overrides = konfig.parse_overrides(["--cfg.x.denominator=5"])
        konfig.apply_overrides(cfg, overrides)

    for _ in range(2):  # the first time, files are imported and texts parsed
        cfg = konfig.ConfigDict({"x": fractions.Fraction(1, denominator=2)})
        visits = list_visits(apply)
    assert cfg.x.denominator == 5
    return visits


class _Model(nn.Module):
    """A model of a user's own: its file is not visited."""

    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(1)(x)


def visits_of_a_step() -> list[str]:
    """Returns the visits from `TrainStep.step`, traced, to the first `Loss.get_values`."""
    example = {"x": np.ones(3, np.float32), "y": np.ones(1, np.float32)}
    trainer = kd.train.Trainer(
        seed=0,
        train_ds=kd.data.py.DataSource([example] * 8, batch_size=8, shuffle=False),
        model=_Model(),
        optimizer=optax.sgd(0.1),
        train_losses={"l2": kd.losses.L2(preds="preds", targets="batch.y")},
        train_metrics={"norm": kd.metrics.Norm(tensor="preds")},
        num_train_steps=1,
    )
    trainer.check()  # as a run does before its first step: keys are parsed
    state, batch = trainer.init_state(), next(iter(trainer.train_ds))
    return list_visits(
        lambda: trainer.trainstep.step(state, batch), until=kd.losses.L2.get_values
    )


def main() -> None:
    for name, visits in (
        ("--cfg.x.denominator=5", visits_of_a_flag()),
        ("TrainStep.step -> Loss.get_values", visits_of_a_step()),
    ):
        print(f"{name}: {len(visits)} visits, {len(set(visits))} files")


if __name__ == "__main__":
    main()
