"""Published import path of `ImmutableDict`."""

from __future__ import annotations

from kauldron._base.frozen_dict import ImmutableDict, freeze_dict_attrs, unfreeze

__all__ = ["ImmutableDict", "freeze_dict_attrs", "unfreeze"]
