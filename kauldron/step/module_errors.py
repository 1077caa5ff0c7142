"""Locating an error in the user's model: the module, and the line."""

from __future__ import annotations

from types import TracebackType

from flax import linen as nn

from kauldron._base import cell_errors, tracebacks


def module_of(error: BaseException) -> nn.Module | None:
    """Returns the innermost Flax module that was running; `None` if none was.

    It is found in the traceback, so that tracing a model costs nothing for it.
    """
    found = None
    for link in (error, error.__cause__):
        tb: TracebackType | None = None if link is None else link.__traceback__
        while tb is not None:
            module = tb.tb_frame.f_locals.get("self")
            if isinstance(module, nn.Module) and module.scope is not None:
                found = module
            tb = tb.tb_next
        if found is not None:
            return found
    return None


def describe_module(error: BaseException) -> str:
    """Returns `in the module 'encoder.block_2' (Block)`; `""` if none was running."""
    module = module_of(error)
    if module is None:
        return ""
    name = type(module).__name__
    path = ".".join(module.path)
    return f"in the module {path!r} ({name})" if path else f"in the model ({name})"


def add_note(error: Exception) -> None:
    """Adds the module to what is printed of an error, once."""
    cell_errors.shorten(error)
    where = describe_module(error)
    if where and not any("in the mod" in n for n in getattr(error, "__notes__", ())):
        error.add_note(f"Raised {where}.")


def describe(error: Exception) -> str:
    """Returns an error with its module, and the user's lines that led to it."""
    lines = [str(error), describe_module(error), tracebacks.describe(error, indent="")]
    return "\n".join(line for line in lines if line)
