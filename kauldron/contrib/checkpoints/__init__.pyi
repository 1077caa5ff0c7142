"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib.checkpoints._clu import PartialCLULoader as PartialCLULoader
from kauldron.contrib.checkpoints._preservation import ExpStep as ExpStep
from kauldron.contrib.checkpoints._preservation import keep_best_n as keep_best_n
from kauldron.contrib.checkpoints._preservation import keep_exp_step_and_best_n as keep_exp_step_and_best_n
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy as AnyPreservationPolicy
from orbax.checkpoint.checkpoint_managers import BestN as BestN
from orbax.checkpoint.checkpoint_managers import CustomSteps as CustomSteps
from orbax.checkpoint.checkpoint_managers import EveryNSeconds as EveryNSeconds
from orbax.checkpoint.checkpoint_managers import EveryNSteps as EveryNSteps
from orbax.checkpoint.checkpoint_managers import LatestN as LatestN

__all__ = [
    "AnyPreservationPolicy",
    "BestN",
    "CustomSteps",
    "EveryNSeconds",
    "EveryNSteps",
    "ExpStep",
    "LatestN",
    "PartialCLULoader",
    "keep_best_n",
    "keep_exp_step_and_best_n",
]
