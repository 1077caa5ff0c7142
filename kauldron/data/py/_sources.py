"""Pipelines over given data source objects."""

from __future__ import annotations

import dataclasses
from typing import Any

from kauldron.data.py import base


@dataclasses.dataclass(frozen=True)
class DataSource(base.DataSourceBase):
    """Reads any random access source: `DataSource(source, shuffle=True, ...)`.

    Attributes:
      data_source: Has `__len__()` and `__getitem__(index)`, and is read many records at a
        time if it has `__getitems__(indices)`. A list, an array, or a dict of arrays
        whose first axis counts examples will do; arrays are the fastest.
    """

    data_source: Any
