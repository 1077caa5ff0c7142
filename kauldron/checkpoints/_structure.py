"""Structure check before restoring: what a run expects against what was saved."""

from __future__ import annotations

from etils import epath

from kauldron.checkpoints import _arrays, _dtype_changes, _names
from kauldron.ktyping import Array, PyTree

_OPT_STATE = "opt_state"
_MAX_LINES = 6
_ABSENT = object()


def differences(
    expected: Array, item_dir: epath.Path, *, parts: bool = False, tree: PyTree = None
) -> list[str]:
    """Returns a line per leaf that is missing, superfluous, or of another shape or kind.

    Args:
      expected: Pytree of anything with `shape` and `dtype`, or of numbers. A
        different float precision does not count as a difference, nor do integers
        that fit.
      item_dir: Folder of the item in the checkpoint.
      parts: Whether to compare only the fields that are not empty in `expected`.
      tree: Metadata of the item, if they have been read already.
    """
    named = _names.flatten_with_path(expected)
    wanted = {name: leaf for name, (_, leaf) in named.items()}
    found = _arrays.saved(item_dir, tree)
    if parts:
        tops = {_names.parts_of(path)[:1] for path, _ in named.values()}
        found = {name: x for name, x in found.items() if x.parts[:1] in tops}
    lines: dict[bool, list[str]] = {False: [], True: []}
    for path in sorted({*wanted, *found}):
        is_opt_state = path.partition(".")[0] == _OPT_STATE
        if problem := _problem(wanted.get(path, _ABSENT), found.get(path)):
            lines[is_opt_state].append(f"{path}: {problem}")
    others, of_optimizer = lines[False], lines[True]
    if others and len(of_optimizer) > 1:
        # It follows its parameters: problems with it are problems with them.
        return [*others[:_MAX_LINES], *_more(others), _summary(of_optimizer)]
    return [*others, *of_optimizer]


def _problem(expected: Array, found: _arrays.SavedArray | None) -> str | None:
    if found is None:
        expectation = _dtype_changes.describe(_dtype_changes.as_saved(expected))
        return f"not in the checkpoint, expected {expectation}"
    if expected is _ABSENT:
        return f"{_dtype_changes.describe(found)} in the checkpoint, not expected"
    return _dtype_changes.mismatch(expected, found)


def _more(lines: list[str]) -> list[str]:
    num_more = len(lines) - _MAX_LINES
    return [f"and {num_more} more"] if num_more > 0 else []


def _summary(lines: list[str]) -> str:
    return f"{_OPT_STATE}: {len(lines)} arrays that do not fit either"
