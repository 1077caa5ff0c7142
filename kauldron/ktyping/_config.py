"""Switching checks off: everywhere, for some modules, for a while."""

from __future__ import annotations

import contextvars
import dataclasses
import os
import re
from typing import Any, Literal, Self

JaxtypingPolicy = Literal["check", "ignore", "log_info", "warn", "error"]

ENV_VAR = "KAULDRON_TYPECHECKING"


@dataclasses.dataclass
class Config:
    """What is checked.

    As a context manager, holds for the current thread until the block is left:

    ```python
    from kauldron import ktyping as kt

    with kt.Config(typechecking_enabled=False):
        pass  # nothing is checked here
    ```

    Attributes:
      typechecking_enabled: Off, `@typechecked` functions only call the function, and
        `kt.dim`, `kt.shape` are not available. The environment variable
        `KAULDRON_TYPECHECKING=0` sets the initial value.
      jaxtyping_annotations: What to do with annotations of jaxtyping in `@typechecked`
        functions. `check`: check them as if they were ours, names are shared; `ignore`;
        `log_info`, `warn`: say so, and check; `error`: raise.
    """

    typechecking_enabled: bool = True
    jaxtyping_annotations: JaxtypingPolicy = "check"

    def __enter__(self) -> Self:
        token = _local.set(self)
        _tokens.set((*_tokens.get(), token))
        return self

    def __exit__(self, *exc_info: Any) -> None:
        *rest, token = _tokens.get()
        _tokens.set(tuple(rest))
        _local.reset(token)


def _initial() -> Config:
    value = os.environ.get(ENV_VAR, "1").strip().lower()
    return Config(typechecking_enabled=value not in ("0", "false", "off", "no"))


CONFIG = _initial()
"""The configuration of the process; assign to its attributes."""

_local: contextvars.ContextVar[Config | None] = contextvars.ContextVar(
    "ktyping_config", default=None
)
_tokens: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar(
    "ktyping_config_tokens", default=()
)
_overrides: dict[str, Config] = {}


def add_config_override(module_regex: str, config: Config) -> None:
    """Gives the functions of some modules a configuration of their own.

    Args:
      module_regex: Matched against the beginning of the module name (`re.match`). Of
        several that match, the one added last wins.
      config: Wins over `CONFIG`, but not over a `with Config(...)`.
    """
    _overrides.pop(module_regex, None)
    _overrides[module_regex] = config


def remove_config_override(module_regex: str) -> None:
    """Takes back `add_config_override`.

    Raises:
      KeyError: If there is no such override.
    """
    if module_regex not in _overrides:
        raise KeyError(
            f"No config override for {module_regex!r}; there are {list(_overrides)}."
        )
    del _overrides[module_regex]


def active(module_name: str | None) -> Config:
    """Returns the configuration that holds for a module here and now."""
    local = _local.get()
    if local is not None:
        return local
    if _overrides and module_name:
        for regex, config in reversed(_overrides.items()):
            if re.match(regex, module_name):
                return config
    return CONFIG
