"""What is wrong with an app, or with what is asked of it."""

from __future__ import annotations

import errno

from kauldron._base import errors


class AppError(errors.UserError, ValueError):
    """An app is damaged or cannot do what is asked of it; nothing was started."""


def tells_full_disk(error: BaseException | None) -> bool:
    """Whether an error is, or comes of, a disk without room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
