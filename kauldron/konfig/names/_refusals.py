"""Error messages for names that an untrusted config may not use."""

from __future__ import annotations

from collections.abc import Sequence

from kauldron.konfig import _errors


def refusal(
    qualname: str, reason: str, source: str, trusted: tuple[str, ...]
) -> _errors.UntrustedError:
    """Returns the error for one name in the config that came from `source`.

    Args:
      qualname: The name.
      reason: Why it is refused.
      source: Where the config came from.
      trusted: Packages that it may use.
    """
    package = qualname.partition(":")[0].partition(".")[0]
    return _errors.UntrustedError(
        f"The config of {source!r} names {qualname!r}, which is refused: "
        f"{reason}. {_advice([*trusted, package])}",
        qualname=qualname,
        reason=reason,
        source=source,
        trusted=trusted,
    )


def _advice(packages: list[str]) -> str:
    packages = list(dict.fromkeys(packages))
    return (
        "If you know what they do, and trust where the config comes from, pass "
        f"trusted={packages!r} (on the command line, --trust={','.join(packages)})."
    )


def summarize(refused: Sequence[_errors.UntrustedError]) -> str:
    """Returns one sentence for all the names of a config that are refused."""
    first = refused[0]
    names = list(dict.fromkeys(e.qualname for e in refused))
    if len(names) == 1:
        return str(first)
    packages = list(dict.fromkeys(n.partition(":")[0].partition(".")[0] for n in names))
    return (
        f"The config of {first.source!r} names {len(names)} things that are refused: "
        f"{first.qualname!r} ({first.reason}), "
        f"{_errors.list_names([repr(n) for n in names[1:]], limit=3)}. "
        f"{_advice([*first.trusted, *packages])}"
    )
