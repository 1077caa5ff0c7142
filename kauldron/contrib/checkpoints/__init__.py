"""`kd.contrib.checkpoints`: preservation policies, CLU checkpoints.

Policies go to `kd.ckpts.Checkpointer(preservation_policy=...)`.
"""

from __future__ import annotations

from kauldron._base import lazy

_OWN = "kauldron.contrib.checkpoints._preservation"
_ORBAX = "orbax.checkpoint.checkpoint_managers"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "AnyPreservationPolicy": f"{_ORBAX}:AnyPreservationPolicy",
        "BestN": f"{_ORBAX}:BestN",
        "CustomSteps": f"{_ORBAX}:CustomSteps",
        "EveryNSeconds": f"{_ORBAX}:EveryNSeconds",
        "EveryNSteps": f"{_ORBAX}:EveryNSteps",
        "ExpStep": f"{_OWN}:ExpStep",
        "LatestN": f"{_ORBAX}:LatestN",
        "PartialCLULoader": "kauldron.contrib.checkpoints._clu:PartialCLULoader",
        "keep_best_n": f"{_OWN}:keep_best_n",
        "keep_exp_step_and_best_n": f"{_OWN}:keep_exp_step_and_best_n",
    },
)
