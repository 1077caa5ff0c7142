"""Sweeps in a notebook: one config after another."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

from kauldron import konfig


class SweepMode(enum.Enum):
    """Which runs of a sweep `iter_sweep_configs` goes through."""

    ALL = "all"
    FIRST = "first"
    NONE = "none"


def iter_sweep_configs(
    source: object,
    *,
    sweep: object = True,
    mode: SweepMode | str = SweepMode.ALL,
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yields the overrides and the config of every run of a sweep.

    Args:
      source: Module of a config, with `get_config()` and `sweep()` or `sweep_<name>()`.
      sweep: Which sweeps, see `konfig.expand_sweeps`.
      mode: Whether to go through all runs, through the first alone, or to yield the
        config as it is, with no overrides.

    Example:

    ```python
    for overrides, cfg in kd.utils.colab.iter_sweep_configs(my_config):
        trainer = konfig.resolve(cfg)
    ```
    """
    mode = SweepMode(mode)
    names = None if mode is SweepMode.NONE else sweep
    every = konfig.expand_sweeps(source, names)
    for overrides in every[:1] if mode is SweepMode.FIRST else every:
        yield overrides, konfig.get_config_from_module(source, overrides=overrides)
