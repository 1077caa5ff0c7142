"""Errors about published models."""

from __future__ import annotations

from kauldron._base import errors


class ModelError(errors.UserError, ValueError):
    """A published model that cannot be found, read, or written."""
