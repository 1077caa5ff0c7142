"""What can be wrong with a registry, or with what it is asked for."""

from __future__ import annotations

from kauldron._base import errors


class RegistryError(errors.UserError, ValueError):
    """A registry that cannot be used, or something that it does not have."""


class RegistryBusyError(errors.Failure):
    """A database that others have kept locked, or that cannot be reached."""
