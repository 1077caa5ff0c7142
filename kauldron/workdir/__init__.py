"""A run's workdir: its files, config, status, records, launches, and lock.

Imports no array library, so that programs that look at many runs start at once.
"""

from __future__ import annotations

from kauldron._base import public
from kauldron.workdir import (
    config_values,
    data_records,
    json_lines,
    launches,
    lock,
    measured,
    run_status,
    workdirs,
)
from kauldron.workdir.lock import WorkdirError
from kauldron.workdir.measured import MetricError
from kauldron.workdir.run_status import RunStatus
from kauldron.workdir.workdirs import (
    WorkdirConfigError,
    get_element_spec,
    get_resolved,
    load_config,
)

__all__ = [
    "MetricError",
    "RunStatus",
    "WorkdirConfigError",
    "WorkdirError",
    "get_element_spec",
    "get_resolved",
    "load_config",
    # Modules.
    "config_values",
    "data_records",
    "json_lines",
    "launches",
    "lock",
    "measured",
    "run_status",
    "workdirs",
]

__dir__ = public.publish(__name__)
