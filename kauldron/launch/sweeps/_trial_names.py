"""Names of trials: what differs, as the name of a folder.

`learning_rate=0.001,seed=2`: the last part of each path, more of it where two paths end
alike. A name that cannot say all of it ends in a few digits of a hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from kauldron import kontext

_MAX_LENGTH = 100
_NUM_DIGITS = 6
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]+")
NO_OVERRIDES = "base"


def to_labels(
    paths: Iterable[str], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Returns a short name for each path, different from each other.

    Args:
      paths: Of all overrides of a sweep.
      known: Names that were given before; they stay.
    """
    labels = dict(known or {})
    unnamed = [path for path in dict.fromkeys(paths) if path not in labels]
    suffixes = {path: _suffixes(path) for path in unnamed}
    for path in unnamed:
        others = {s for p in unnamed if p != path for s in suffixes[p]}
        taken = others | {label.casefold() for label in labels.values()}
        free = (s for s in suffixes[path] if s.casefold() not in taken)
        labels[path] = next(free, f"{suffixes[path][-1]}-{_hash(path)}")
    return labels


def _suffixes(path: str) -> list[str]:
    """Returns the last part of a path, the last two parts, and so on."""
    parts = [_safe(str(part)) for part in kontext.GlobPath.from_str(path).parts]
    parts = [part for part in parts if part] or ["all"]
    first = len(parts) - 1
    while first and parts[first].isdigit():
        first -= 1  # an index alone says nothing
    return [".".join(parts[i:]) for i in range(first, -1, -1)]


def to_name(
    overrides: Mapping[str, Any],
    texts: Mapping[str, str],
    labels: Mapping[str, str],
    taken: Collection[str],
) -> str:
    """Returns the name of a trial.

    Args:
      overrides: Path -> value.
      texts: Path -> the value on the command line.
      labels: Path -> its short name.
      taken: Names that other trials have.
    """
    pairs, is_exact = [], True
    for path, value in overrides.items():
        shown = _shown(value, texts[path])
        safe = _safe(shown)
        is_exact = is_exact and safe == shown
        pairs.append(f"{labels[path]}={safe}")
    name = ",".join(pairs) or NO_OVERRIDES
    # Some file systems do not tell `A` from `a`.
    is_taken = name.casefold() in {other.casefold() for other in taken}
    if is_exact and len(name) <= _MAX_LENGTH and not is_taken:
        return name
    digits = _hash(json.dumps(dict(texts), sort_keys=True))
    return f"{name[: _MAX_LENGTH - _NUM_DIGITS - 1]}-{digits}"


def _shown(value: Any, text: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and "__qualname__" in value:
        name = str(value["__qualname__"]).rpartition(":")[2].rpartition(".")[2]
        return f"{name}()"  # its arguments are left to the hash
    return text


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-.") if _UNSAFE.search(text) else text


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_NUM_DIGITS]
