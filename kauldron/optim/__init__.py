"""`kd.optim`: what optax leaves to be said about whole models."""

from __future__ import annotations

from kauldron.optim._chains import named_chain
from kauldron.optim._ema import UseEmaParams, ema_params
from kauldron.optim._masks import exclude, partial_updates, select
from kauldron.optim._regularize import decay_to_init

__all__ = [
    "UseEmaParams",
    "decay_to_init",
    "ema_params",
    "exclude",
    "named_chain",
    "partial_updates",
    "select",
]
