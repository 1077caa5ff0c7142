"""`kd.tracking.tune`: which values of a config are best, found by Optuna.

A study is a folder of trials, ordinary runs, and nothing else: what is tried next follows
from what the workdirs say. `kd.launch.run_sweep(study, backend)` runs it.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.tracking.tuning"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Choice": f"{_ROOM}._values:Choice",
        "Float": f"{_ROOM}._values:Float",
        "Int": f"{_ROOM}._values:Int",
        "PruneTrial": f"{_ROOM}._prune_trial:PruneTrial",
        "Study": f"{_ROOM}._study:Study",
        "StudyError": f"{_ROOM}._values:StudyError",
        "StudyOverview": f"{_ROOM}._overview:StudyOverview",
        "StudyTrial": f"{_ROOM}._history:StudyTrial",
        "parse_space": f"{_ROOM}._space:parse",
        "plot": f"{_ROOM}._plots:plot",
        "read_study": f"{_ROOM}._overview:read_study",
    },
)
