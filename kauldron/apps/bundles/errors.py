"""What is wrong with an app, or with what is asked of it."""

from __future__ import annotations

from kauldron._base import errors


class AppError(errors.UserError, ValueError):
    """An app is damaged or cannot do what is asked of it; nothing was started."""
