"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.tracking.tuning._history import StudyTrial as StudyTrial
from kauldron.tracking.tuning._overview import StudyOverview as StudyOverview
from kauldron.tracking.tuning._overview import read_study as read_study
from kauldron.tracking.tuning._plots import plot as plot
from kauldron.tracking.tuning._prune_trial import PruneTrial as PruneTrial
from kauldron.tracking.tuning._space import parse as parse_space
from kauldron.tracking.tuning._study import Study as Study
from kauldron.tracking.tuning._values import Choice as Choice
from kauldron.tracking.tuning._values import Float as Float
from kauldron.tracking.tuning._values import Int as Int
from kauldron.tracking.tuning._values import StudyError as StudyError

__all__ = [
    "Choice",
    "Float",
    "Int",
    "PruneTrial",
    "Study",
    "StudyError",
    "StudyOverview",
    "StudyTrial",
    "parse_space",
    "plot",
    "read_study",
]
