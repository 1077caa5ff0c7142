"""One training step: what runs inside jit, as pure functions and frozen parts.

`Context` is the one namespace that keys point into; `forward` fills it with predictions,
`TrainStep` takes the gradient, updates the parameters, and measures.
"""

from __future__ import annotations

from kauldron._base import public
from kauldron.step import (
    accumulation,
    auxiliaries,
    context,
    dropping,
    finiteness,
    intermediates,
    key_checks,
    loss_groups,
    measured_numbers,
    mixed_precision,
    module_errors,
    rematerialization,
    rngs_lib,
    state_trees,
    step_inputs,
    text_keys,
    train_step,
)
from kauldron.step._forward import PredictionError, forward, forward_with_loss
from kauldron.step._loss_scale import DynamicLossScale, LossScaleError
from kauldron.step._module_globs import ModuleGlobError
from kauldron.step._param_owners import LossGroupError
from kauldron.step._step_options import TrainStepError
from kauldron.step.accumulation import AccumulationError
from kauldron.step.auxiliaries import (
    Auxiliaries,
    AuxiliariesOutput,
    AuxiliariesState,
)
from kauldron.step.context import Context
from kauldron.step.dropping import DropoutError
from kauldron.step.loss_groups import LossGroup, LossGroupsStep
from kauldron.step.mixed_precision import Precision, PrecisionError
from kauldron.step.rematerialization import Remat, RematError
from kauldron.step.rngs_lib import RngStream, RngStreams
from kauldron.step.step_inputs import HostBatchError, UsedStateError
from kauldron.step.train_step import TrainStep

__all__ = [
    "Auxiliaries",
    "AuxiliariesOutput",
    "AuxiliariesState",
    "Context",
    "DynamicLossScale",
    "LossGroup",
    "LossGroupsStep",
    "Precision",
    "Remat",
    "RngStream",
    "RngStreams",
    "TrainStep",
    "forward",
    "forward_with_loss",
    # What is wrong.
    "AccumulationError",
    "DropoutError",
    "HostBatchError",
    "LossGroupError",
    "LossScaleError",
    "ModuleGlobError",
    "PrecisionError",
    "PredictionError",
    "RematError",
    "TrainStepError",
    "UsedStateError",
    # Modules.
    "accumulation",
    "auxiliaries",
    "context",
    "dropping",
    "finiteness",
    "intermediates",
    "key_checks",
    "loss_groups",
    "measured_numbers",
    "mixed_precision",
    "module_errors",
    "rematerialization",
    "rngs_lib",
    "state_trees",
    "text_keys",
    "step_inputs",
    "train_step",
]

__dir__ = public.publish(__name__)
