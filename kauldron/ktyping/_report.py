"""The error report of a failed check: what, where, and all that was checked with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kauldron.ktyping import _checkers, _explain, _format, _match, _scope
from kauldron.ktyping._errors import KTypeCheckError

_RETURN = "return value"


def failure(
    name: str,
    value: object,
    hint: object,
    candidates: list[_match.Candidate],
    scope: _scope.ShapeScope,
) -> KTypeCheckError:
    """Returns the error for a value that does not fit.

    Args:
      name: What was checked: an argument, a field, `"return value"`, or `""`.
      value: The value.
      hint: Its annotation.
      candidates: What was known before the check.
      scope: The scope; its `call` has the other arguments.
    """
    origins = _origins(scope, until=name)
    explainer = _explain.Explainer(candidates, scope, origins, name)
    try:
        reason = explainer.explain(value, hint)
    except Exception as error:
        # Whatever goes wrong here must not hide the mistake that is reported.
        reason = _explain.Reason(f"it could not be told why ({error!r})")
    call = scope.call
    subject = f"`{name}{reason.at}`" if name not in ("", _RETURN) else ""
    if name == _RETURN:
        subject = f"The {_RETURN}{_at(reason)}"
    elif not name:
        subject = f"The value{_at(reason)}"
    of = f" of {call.label}" if call is not None and name else ""
    lines = [
        f"{subject}{of} does not fit {_format.format_hint(hint)}: {reason.text}.",
        f"  Got {_format.format_value(value)}.",
    ]
    if call is not None:
        lines += _table(call, scope, name, value)
    known = _known_dims(candidates, origins)
    if known:
        lines.append(f"  Dims: {known}")
    if call is not None:
        lines.append(f"  In {call.location}")
    return KTypeCheckError("\n".join(lines), name=name, reason=reason.text)


def undetermined(scope: _scope.ShapeScope) -> KTypeCheckError:
    """Returns the error for expressions whose names never got a size."""
    dim, size = scope.candidates[0][_match.PENDING][0]
    names = dim.unknown(scope.candidates[0])
    unknown = ", ".join(map(repr, names)) or "it"
    arguments = [name for name in names if name in scope.arguments]
    hint = "Is the name misspelt?"
    if arguments:
        hint = f"To use the argument `{arguments[0]}`, write {{{arguments[0]}}}."
    message = (
        f"The dim '{dim}', of size {size}, could not be checked: no array tells what "
        f"{unknown} is. {hint}"
    )
    lines = [message]
    if scope.call is not None:
        lines += _table(scope.call, scope, "", None)
        lines.append(f"  In {scope.call.location}")
    return KTypeCheckError("\n".join(lines), reason=message)


def _at(reason: _explain.Reason) -> str:
    return f" at {reason.at}" if reason.at else ""


def _table(
    call: Any, scope: _scope.ShapeScope, failed: str, value: object
) -> list[str]:
    """Returns one line per argument, the failing one marked with `>`."""
    rows: list[tuple[str, str, str, str]] = []
    for name, hint in call.hints.items():
        shown = _format.format_hint(hint)
        if name == "return":
            mark = ">" if failed == _RETURN else " "
            got = f" = {_format.format_value(value)}" if failed == _RETURN else ""
            rows.append((mark, "return", shown, got))
        elif name in scope.arguments:
            mark = ">" if failed.partition("[")[0].lstrip("*") == name else " "
            got = f" = {_format.format_value(scope.arguments[name])}"
            rows.append((mark, name, shown, got))
    if not rows:
        return []
    width = max(len(row[1]) for row in rows)
    return [
        f"  {mark} {name:<{width}}: {hint}{got}".rstrip()
        for mark, name, hint, got in rows
    ]


def _origins(scope: _scope.ShapeScope, until: str) -> dict[str, str]:
    """Returns which argument told each dim, by checking them again one by one."""
    if scope.call is None:
        return {}
    origins: dict[str, str] = {}
    candidates: list[_match.Candidate] = [{}]
    for name, value, hint in scope.call.argument_checks(scope.arguments):
        if name == until or not candidates:
            break
        candidates = _checkers.checker(hint)(value, candidates, scope)
        for key in (key for c in candidates for key in c):
            origins.setdefault(key.removeprefix("#"), name)
    return origins


def _known_dims(candidates: Sequence[Any], origins: dict[str, str]) -> str:
    """Returns every dim with its origin, a line for each candidate if several."""
    shown = []
    for candidate in candidates[:4]:
        by_origin: dict[str, list[str]] = {}
        for name, value in candidate.items():
            if name.startswith("$"):
                continue
            text = _scope.format_candidate({name: value})
            by_origin.setdefault(origins.get(name.removeprefix("#"), ""), []).append(
                text
            )
        groups = [
            ", ".join(texts) + (f" (from `{origin}`)" if origin else "")
            for origin, texts in by_origin.items()
        ]
        if groups:
            shown.append("; ".join(groups))
    if len(candidates) > 4:
        shown.append(f"… {len(candidates)} possibilities in all")
    return "\n     or ".join(shown)
