"""How far a call travels: visits to files of kauldron on the way to what it is for.

    python -m tests.benchmarks.hops

A visit is a change of the file, within kauldron, along the sequence of calls. Fewer means
that less has to be held in mind to follow a call in a debugger. When konfig was one flat
room (commit 94742c6): 57 visits for one flag.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import kauldron
from kauldron import konfig

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


def visits_of_a_step() -> list[str]:
    """Returns the visits from `TrainStep.step`, traced, to the first `Loss.get_values`."""
    cfg = konfig.load_config_file("examples/digits_classifier.py")
    trainer = konfig.resolve(cfg)
    state = trainer.init_state()
    batch = next(iter(trainer.train_ds))
    (loss,) = trainer.train_losses.values()
    return list_visits(
        lambda: trainer.trainstep.step(state, batch), until=type(loss).get_values
    )


def main() -> None:
    for name, visits in (
        ("--cfg.x.denominator=5", visits_of_a_flag()),
        ("TrainStep.step -> Loss.get_values", visits_of_a_step()),
    ):
        print(f"{name}: {len(visits)} visits, {len(set(visits))} files")


if __name__ == "__main__":
    main()
