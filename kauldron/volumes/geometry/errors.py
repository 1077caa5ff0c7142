"""What is raised when a volume is wrong."""

from __future__ import annotations

from kauldron._base import errors


class VolumeError(errors.UserError, ValueError):
    """A volume, its file, or what is asked of them is wrong."""
