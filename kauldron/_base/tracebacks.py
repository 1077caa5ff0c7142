"""Tracebacks trimmed to user code: the file and line where it raised.

*Ours* are the frames of this package. The user's code is what we call into: files that
are neither ours, nor Python's, nor of an installed package; if there are none, those of
installed packages that Kauldron is not built on, such as a library of models. What comes
before our first frame (the script that called us) is known to the reader, and left out.
"""

from __future__ import annotations

import functools
import linecache
import os
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

from kauldron._base import cells

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Packages that Kauldron is built on: a mistake is never in their frames.
_LIBRARIES = frozenset(
    [
        "absl",
        "array_record",
        "beartype",
        "chex",
        "einops",
        "etils",
        "flax",
        "fsspec",
        "grain",
        "IPython",
        "jax",
        "jaxlib",
        "jaxtyping",
        "ml_collections",
        "ml_dtypes",
        "msgpack",
        "numpy",
        "optax",
        "orbax",
        "PIL",
        "pluggy",
        "_pytest",
        "pytest",
        "rich",
        "scipy",
        "tensorboardX",
        "tensorflow_datasets",
        "tensorstore",
        "tqdm",
        "treescope",
        "typing_extensions",
        "wrapt",
    ]
)
_INSTALLED = ("site-packages", "dist-packages")
# What JAX puts beside an exception about the frames it has taken out of the traceback.
_JAX_CAUSES = ("UnfilteredStackTrace", "JaxStackTraceBeforeTransformation")
_JAX_NOTE = "JAX has removed"


class Place(NamedTuple):
    """A line of the user's code.

    Attributes:
      filename: As Python knows it.
      line: From 1.
      function: Name of the function, `<module>` at the top of a file.
      text: The line, stripped; may be empty.
    """

    filename: str
    line: int
    function: str
    text: str

    def __str__(self) -> str:
        return f"{show_path(self.filename)}:{self.line}"


def user_places(error: BaseException) -> list[Place]:
    """Returns where the user's code was when it raised, outermost call first.

    In a chain of exceptions, such as ours raised from the user's, the first one counts
    whose traceback has any. Empty if there is no user code below ours.
    """
    for link in _chain(error):
        frames = traceback.extract_tb(link.__traceback__)
        places = [frames[i] for i in _user_indices(frames)]
        if isinstance(link, SyntaxError) and (place := _place_of_syntax(link)):
            return [*map(_to_place, places), place]
        if places:
            return list(map(_to_place, places))
    return []


def path_to(error: BaseException) -> list[Place]:
    """Returns the user's lines on the way to an error, from the outermost call on.

    Other than `user_places`, with those that called us, such as the cell of a notebook.
    """
    frames = traceback.extract_tb(error.__traceback__)
    found = [_to_place(f) for f in frames if _kind(f.filename) == "own"]
    for place in user_places(error):
        if place not in found:
            found.append(place)
    return found


def user_place(error: BaseException) -> Place | None:
    """Returns the innermost place in the user's code; `None` if there is none."""
    places = user_places(error)
    return places[-1] if places else None


def describe(
    error: BaseException,
    *,
    limit: int = 4,
    indent: str = "  ",
    with_functions: bool = True,
) -> str:
    """Returns the places as lines, `file.py:12, in f` and the code; may be empty.

    Args:
      error: The exception.
      limit: How many of the places, the innermost ones.
      indent: What each line begins with.
      with_functions: Whether the functions are named.
    """
    lines = []
    for place in user_places(error)[-limit:]:
        is_named = with_functions and not place.function.startswith("<")
        lines.append(f"{indent}{place}{f', in {place.function}' if is_named else ''}")
        if place.text:
            lines.append(f"{indent}  {place.text}")
    return "\n".join(lines)


def notes_of(error: object) -> list[str]:
    """Returns the notes of an error, without that of JAX about frames it has removed."""
    notes = getattr(error, "__notes__", None) or ()
    return [str(note) for note in notes if _JAX_NOTE not in str(note)]


def format_error(error: BaseException) -> str:
    """Returns the traceback as Python prints it, from the user's code on.

    Exceptions of the chain that never were in the user's code have no traceback, only
    their message. If none was, everything is shown.
    """
    shown = traceback.TracebackException.from_exception(error)
    pairs = _pairs(shown, error, set())
    cuts = [_user_indices(entry.stack) for entry, _ in pairs]
    if any(cuts):
        for (entry, _), indices in zip(pairs, cuts, strict=True):
            # `None`: no line "Traceback (most recent call last)" either.
            kept: Any = None
            if indices:
                kept = traceback.StackSummary.from_list(entry.stack[indices[0] :])
            entry.stack = kept
    return "".join(shown.format())


def _pairs(
    entry: traceback.TracebackException, error: BaseException, seen: set[int]
) -> list[tuple[traceback.TracebackException, BaseException]]:
    """Returns every exception of the chain, without JAX's notes about itself."""
    if id(error) in seen:
        return []
    seen.add(id(error))
    if getattr(entry, "__notes__", None):
        entry.__notes__ = notes_of(entry)
    found = [(entry, error)]
    for name in ("__cause__", "__context__"):
        below, other = getattr(entry, name), getattr(error, name)
        if below is None or other is None:
            continue
        if type(other).__name__ in _JAX_CAUSES:
            setattr(entry, name, None)
        else:
            found += _pairs(below, other, seen)
    return found


def _chain(error: BaseException) -> list[BaseException]:
    """Returns the exception and its causes, the last raised first."""
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and not any(link is other for other in found):
        if type(link).__name__ not in _JAX_CAUSES:
            found.append(link)
        context = None if link.__suppress_context__ else link.__context__
        link = link.__cause__ or context
    return found


def _user_indices(frames: Sequence[traceback.FrameSummary]) -> list[int]:
    """Returns which frames are the user's, below our first one."""
    ours = [i for i, frame in enumerate(frames) if is_within(frame.filename, _OURS)]
    below = range(ours[0] + 1, len(frames)) if ours else range(0)
    kinds = {i: _kind(frames[i].filename) for i in below}
    for wanted in ("own", "installed"):
        if found := [i for i, kind in kinds.items() if kind == wanted]:
            return found
    return []


@functools.lru_cache(maxsize=4096)
def _kind(filename: str) -> str:
    """Returns whose a file is: `own` (the user's), `installed`, or `other`."""
    if filename.startswith("<"):
        # Cells of a notebook have source lines; generated code has none.
        is_cell = bool(linecache.getline(filename, 1)) and "generated" not in filename
        return "own" if is_cell or filename == "<stdin>" else "other"
    path = os.path.abspath(filename)
    if is_within(path, _OURS):
        return "other"
    parts = path.split(os.sep)
    for i, part in enumerate(parts[:-1]):
        if part in _INSTALLED:
            top = parts[i + 1].removesuffix(".py")
            return "other" if top in _LIBRARIES else "installed"
    if any(is_within(path, directory) for directory in _python_directories()):
        return "other"
    return "own"


@functools.cache
def _python_directories() -> tuple[str, ...]:
    import sysconfig

    names = ("stdlib", "platstdlib", "scripts")
    return tuple(os.path.abspath(sysconfig.get_path(name)) for name in names)


def is_within(path: str, directory: str) -> bool:
    """Returns whether a path is a directory, or inside it."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def _to_place(frame: traceback.FrameSummary) -> Place:
    return Place(frame.filename, frame.lineno or 0, frame.name, frame.line or "")


def _place_of_syntax(error: SyntaxError) -> Place | None:
    """Returns the line that cannot be parsed, which no frame has executed."""
    if error.filename is None or error.lineno is None:
        return None
    if _kind(error.filename) == "other":
        return None
    return Place(error.filename, error.lineno, "<module>", (error.text or "").strip())


def show_path(filename: str) -> str:
    """Returns the shorter of the absolute and the relative path; of a cell, its name."""
    if cell := cells.name_of(filename):
        return cell
    if not os.path.isabs(filename):
        return filename
    try:
        relative = os.path.relpath(filename)
    except (OSError, ValueError):  # no working directory; another drive
        return filename
    return relative if len(relative) < len(filename) else filename
