"""`ExportError`: a model, or a folder, that cannot be exported or loaded."""

from __future__ import annotations

from kauldron._base import errors


class ExportError(errors.UserError, ValueError):
    """A model that cannot be exported as asked, or a folder that cannot be loaded."""
