"""`kd.optim`: optimizer tools that optax lacks, for whole models."""

from __future__ import annotations

from kauldron._base import public
from kauldron.optim._by_path import by_path
from kauldron.optim._chains import named_chain
from kauldron.optim._decay import layerwise_decay, no_bias_or_norm
from kauldron.optim._ema import EmaParamsState, UseEmaParams, ema_params
from kauldron.optim._learning_rates import (
    declare_learning_rates,
    learning_rates,
    schedules_to_log,
    slowed_down,
)
from kauldron.optim._masks import exclude, partial_updates, select
from kauldron.optim._muon import muon
from kauldron.optim._paths import (
    NoMatchError,
    RoutingError,
    Selection,
    parameter_paths,
    selected,
)
from kauldron.optim._plateau import (
    PlateauScaleState,
    has_plateau_scale,
    plateau_scale,
    set_plateau_scale,
)
from kauldron.optim._regularize import decay_to_init
from kauldron.optim._schedules import wsd_schedule

__all__ = [
    # Parts of an optimizer, and which parameters they are for.
    "by_path",
    "exclude",
    "named_chain",
    "no_bias_or_norm",
    "partial_updates",
    "select",
    # Transformations.
    "decay_to_init",
    "ema_params",
    "layerwise_decay",
    "muon",
    "plateau_scale",
    "wsd_schedule",
    "EmaParamsState",
    "PlateauScaleState",
    "UseEmaParams",
    # For training steps of your own.
    "NoMatchError",
    "RoutingError",
    "Selection",
    "declare_learning_rates",
    "has_plateau_scale",
    "learning_rates",
    "parameter_paths",
    "schedules_to_log",
    "selected",
    "set_plateau_scale",
    "slowed_down",
]

__dir__ = public.publish(__name__)
