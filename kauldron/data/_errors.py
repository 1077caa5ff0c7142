"""Errors of data pipelines that the user can fix."""

from __future__ import annotations

from collections.abc import Iterable

from kauldron._base import errors


class DataError(errors.UserError, ValueError):
    """A pipeline that cannot work as configured, or data that do not fit it."""


class DataKeyError(errors.UserError, KeyError):
    """A transform names a key that the elements do not have, or must not have."""


class BadRecordError(DataError):
    """A record could not be read; says which one, from where."""


class IteratorStateError(DataError):
    """The saved position of an iterator does not belong to this pipeline."""


def missing_key(owner: str, key: str, available: Iterable[str]) -> DataKeyError:
    """Returns the error for a key that the elements do not have."""
    names = sorted(map(str, available))
    return DataKeyError(
        f"{owner}: the elements have no key {key!r}."
        f"{errors.did_you_mean(str(key), names)} Available keys: {names}."
    )
