"""Transforms of examples and of batches; offered as `kd.data.Resize`, and so on."""

from __future__ import annotations

from kauldron._base import lazy

lazy.tell_homes(__name__)
