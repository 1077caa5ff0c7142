"""`kd.errors`: user-facing exceptions, which commands print as short messages."""

from __future__ import annotations

from kauldron._base import public
from kauldron._base.errors import (
    Failure,
    UserError,
    did_you_mean,
    edit_distance,
    is_probable_typo,
    nearest,
)
from kauldron._base.extras import MissingPackageError

__all__ = [
    "Failure",
    "MissingPackageError",
    "UserError",
    "did_you_mean",
    "edit_distance",
    "is_probable_typo",
    "nearest",
]

__dir__ = public.publish(__name__)
