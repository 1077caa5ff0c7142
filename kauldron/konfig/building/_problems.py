"""Config problems, as data, and as one exception that lists them all."""

from __future__ import annotations

import dataclasses

from kauldron.konfig import _errors
from kauldron.konfig.names import _refusals


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config.

    Attributes:
      field: The field as the user writes it: `cfg.optimizer.learning_rte`.
      message: What is wrong, and what to do.
      kind: `unknown_argument`, `missing_argument`, `import`, `type`, `required`,
        `reference`, `untrusted`, `unused`.
      origin: File and line, or the flag, where it was written; may be empty.
      is_error: Whether the config cannot be resolved; otherwise it is a warning.
      cause: The exception that the message was taken from, if any.
    """

    field: str
    message: str
    kind: str
    origin: str = ""
    is_error: bool = True
    cause: Exception | None = dataclasses.field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        where = f" ({self.origin})" if self.origin else ""
        warning = "" if self.is_error else "warning: "
        return f"{warning}In `{self.field}`{where}: {self.message}"


_EXCEPTIONS: dict[str, type[_errors.ConfigError]] = {
    "unknown_argument": _errors.ConfigTypeError,
    "missing_argument": _errors.ConfigTypeError,
    "import": _errors.ConfigImportError,
    "type": _errors.ConfigTypeError,
    "required": _errors.RequiredValueError,
    "reference": _errors.ConfigError,
    "untrusted": _errors.UntrustedError,
}
_MAX_SHOWN = 10


def raise_errors(problems: list[Problem]) -> None:
    """Raises one exception that tells all the problems that are errors."""
    found = [p for p in problems if p.is_error]
    if not found:
        return
    all_lines = to_lines(found)
    lines = all_lines[:_MAX_SHOWN]
    if len(all_lines) > 1:
        lines.insert(0, f"The config has {len(found)} mistakes:")
    if len(all_lines) > _MAX_SHOWN:
        lines.append(f"... and {len(all_lines) - _MAX_SHOWN} more.")
    raise _EXCEPTIONS[found[0].kind]("\n".join(lines))


def to_lines(problems: list[Problem]) -> list[str]:
    """Returns a text for each problem; all names that are not trusted share one."""
    refused = [p.cause for p in problems if isinstance(p.cause, _errors.UntrustedError)]
    if len(refused) < 2:
        return [str(p) for p in problems]
    others = [p for p in problems if not isinstance(p.cause, _errors.UntrustedError)]
    return [_refusals.summarize(refused), *map(str, others)]
