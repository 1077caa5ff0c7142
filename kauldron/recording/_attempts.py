"""Makes every one of several calls, even if earlier ones raise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kauldron.workdir import json_lines


def call_all(calls: Iterable[Callable[[], object]]) -> None:
    """Makes every call; then raises what was raised, see `raise_all`."""
    errors: list[Exception] = []
    for call in calls:
        try:
            call()
        except Exception as e:
            errors.append(e)
    raise_all(errors)


def raise_all(errors: Sequence[Exception]) -> None:
    """Raises the first error; an `ExceptionGroup` if there are several kinds of them."""
    firsts: dict[type[Exception], Exception] = {}
    for error in errors:
        firsts.setdefault(_kind(error), error)
    if len(firsts) > 1:
        raise ExceptionGroup(f"{len(errors)} writes failed", [*firsts.values()])
    for error in firsts.values():
        raise error


def each(error: Exception) -> list[Exception]:
    """Returns the errors of a group, or the only one."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [e for member in error.exceptions for e in each(member)]


def _kind(error: Exception) -> type[Exception]:
    """Groups errors that are reported once: disks fail in many ways, to one effect."""
    for kind in (json_lines.LostError, OSError):
        if isinstance(error, kind):
            return kind
    return type(error)
