"""The base class of user-facing errors, which commands print as short messages."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable

from kauldron._base import public


class UserError(Exception):
    """A mistake in what the user asked for, found before anything was started.

    Commands print its message without a traceback and exit with code 2. Rooms derive
    their own exceptions from it together with the builtin type that fits, for instance
    `class ConfigError(UserError, ValueError)`. The message says what is wrong, what was
    seen, and what to do.
    """

    def __str__(self) -> str:
        # `KeyError.__str__` would print the repr of the message, newlines escaped.
        return Exception.__str__(self)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it in a cell."""
        return _in_a_cell(self)


class Failure(Exception):
    """Something outside the program went wrong, such as a full disk.

    Commands print its message without a traceback and exit with code 1. The message says
    it all: what failed, why, and what remains.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it in a cell."""
        return _in_a_cell(self)


def _in_a_cell(error: Exception) -> list[str]:
    from kauldron._base import cell_errors

    return cell_errors.render(error)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the nearest candidate, else `""`."""
    near = nearest(name, candidates, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def nearest(name: str, candidates: Iterable[str], *, n: int = 3) -> list[str]:
    """Returns up to `n` candidates that look like `name`, the most similar first.

    Sorted by edit distance (insertions, deletions, replacements, swaps of neighbours;
    case is ignored), then by whether the letters are the same in another order, then by
    how much the names have in common.
    """
    folded = name.casefold()
    scored = []
    for i, candidate in enumerate(dict.fromkeys(map(str, candidates))):
        other = candidate.casefold()
        if abs(len(other) - len(folded)) > max(len(folded), len(other)) * 0.7:
            continue
        edits = edit_distance(folded, other)
        ratio = difflib.SequenceMatcher(None, folded, other).ratio()
        if edits <= _max_edits(folded, other) or ratio >= 0.6:
            is_swap = sorted(folded) == sorted(other)
            scored.append((edits, not is_swap, -ratio, i, candidate))
    return [candidate for *_, candidate in sorted(scored)[:n]]


def _max_edits(a: str, b: str) -> int:
    """Returns how many edits count as a typo: 1 or 2, in long names a quarter."""
    longest = max(len(a), len(b))
    return 1 if longest <= 3 else 2 if longest <= 9 else longest // 4


def is_probable_typo(name: str, candidates: Iterable[str]) -> bool:
    """Returns whether `name` is a typo of one of the candidates.

    Names that differ only in digits (`layer1`, `layer2`) are different names, and so
    are those similar to a name of fewer than four letters.
    """
    folded = name.casefold()
    for candidate in map(str, candidates):
        other = candidate.casefold()
        if len(other) < 4 or _without_digits(folded) == _without_digits(other):
            continue
        if edit_distance(folded, other) <= (1 if len(other) == 4 else 2):
            return True
    return False


def _without_digits(text: str) -> str:
    return "".join(c for c in text if not c.isdigit())


def edit_distance(a: str, b: str) -> int:
    """Returns the insertions, deletions, replacements and swaps of neighbours.

    Letters that were swapped may have had others between them: `ca` is two edits away
    from `abc`.

    Reference: Lowrance and Wagner 1975, An extension of the string-to-string correction
    problem, J. ACM 22(2); Damerau-Levenshtein distance.
    """
    return _edits(*_without_common_ends(a, b))


# Hints compare the same words again and again.
@functools.lru_cache(maxsize=2**12)
def _edits(a: str, b: str) -> int:
    far = len(a) + len(b)
    table = [[far] * (len(b) + 2), [far, *range(len(b) + 1)]]
    last_row: dict[str, int] = {}  # where in `a` a letter was seen last
    for i, x in enumerate(a, 1):
        above, row, last_column = table[i], [far, i], 0
        for j, y in enumerate(b, 1):
            k = last_row.get(y, 0)
            # Comparisons, not `min`: this runs for each pair of letters.
            best = table[k][last_column] + (i - k) + (j - last_column) - 1  # swapped
            if x == y:
                last_column = j
            replaced = above[j] + (x != y)
            best = replaced if replaced < best else best
            added_or_dropped = (row[j] if row[j] < above[j + 1] else above[j + 1]) + 1
            row.append(added_or_dropped if added_or_dropped < best else best)
        table.append(row)
        last_row[x] = i
    return table[-1][-1]


def _without_common_ends(a: str, b: str) -> tuple[str, str]:
    """Returns what differs: equal beginnings and ends need no edits."""
    shorter, start, end = min(len(a), len(b)), 0, 0
    while start < shorter and a[start] == b[start]:
        start += 1
    while end < shorter - start and a[-1 - end] == b[-1 - end]:
        end += 1
    return a[start : len(a) - end], b[start : len(b) - end]


for _public in (
    UserError,
    Failure,
    did_you_mean,
    nearest,
    is_probable_typo,
    edit_distance,
):
    public.move(_public, "kauldron.errors")
