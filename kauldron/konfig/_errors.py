"""Config exceptions, each also of the matching builtin type."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ml_collections import config_dict

from kauldron._base import errors


class ConfigError(errors.UserError, ValueError):
    """Something in a config, or in an override of it, is wrong."""


class ConfigTypeError(ConfigError, TypeError):
    """A value of a type that the field does not take."""


class ConfigKeyError(ConfigError, KeyError):
    """A field that does not exist."""


class ConfigAttributeError(ConfigKeyError, AttributeError):
    """A field that does not exist, asked for as an attribute."""


class ConfigIndexError(ConfigError, IndexError):
    """A list item or positional argument that does not exist."""


class ConfigImportError(ConfigError, ImportError):
    """A module or a name in a module that cannot be found."""


class MissingNameError(ConfigImportError):
    """A module that exists has no such name."""


class ConfigFileError(ConfigError, AssertionError):
    """A config file that is missing, or that is not a config file."""


class MissingFileError(ConfigError, FileNotFoundError):
    """There is no such config file."""


class RequiredValueError(ConfigError, config_dict.RequiredValueError):
    """A required value was never set."""


class UntrustedError(ConfigError, PermissionError):
    """A config from elsewhere names something that it must not call.

    Attributes:
      qualname: What it names.
      reason: Why that is refused.
      source: Where the config came from.
      trusted: Packages that it may use.
    """

    def __init__(
        self,
        message: str,
        *,
        qualname: str = "",
        reason: str = "",
        source: str = "",
        trusted: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.trusted = trusted
        self.qualname = qualname
        self.reason = reason
        self.source = source


# The builtin types that a constructor's error keeps. `UnicodeDecodeError` and the like
# need constructor arguments of their own.
_KEPT_TYPES = (
    NotImplementedError,
    RecursionError,
    FileNotFoundError,
    PermissionError,
    ModuleNotFoundError,
    ImportError,
    ZeroDivisionError,
    OverflowError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def like(builtin: type[BaseException]) -> type[ConfigError]:
    """Returns a `ConfigError` that `except <builtin>` catches as well.

    Args:
      builtin: Any exception type; the nearest builtin base of it counts. One of ours is
        returned as it is.
    """
    if issubclass(builtin, ConfigError):
        return builtin
    for kept in _KEPT_TYPES:
        if issubclass(builtin, kept):
            return _combine(kept)
    return ConfigError


_OWN_TYPES = {
    TypeError: ConfigTypeError,
    KeyError: ConfigKeyError,
    AttributeError: ConfigAttributeError,
    IndexError: ConfigIndexError,
    ImportError: ConfigImportError,
}


@functools.cache
def _combine(builtin: type[Exception]) -> type[ConfigError]:
    if builtin in _OWN_TYPES:
        return _OWN_TYPES[builtin]
    if issubclass(ConfigError, builtin):
        return ConfigError
    return type(f"Config{builtin.__name__}", (ConfigError, builtin), {})


def list_names(names: Sequence[str], *, limit: int = 12) -> str:
    """Returns names comma separated, cut after `limit`."""
    more = f", … ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def short(value: object, *, limit: int = 80) -> str:
    """Returns the `repr` of a value, cut to `limit` characters."""
    if isinstance(value, str) and len(value) > 2 * limit:
        value = value[: 2 * limit]  # the repr of a huge string is not worth making
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


for _error in list(globals().values()):
    if isinstance(_error, type) and issubclass(_error, ConfigError):
        _error.__module__ = "kauldron.konfig"  # as tracebacks should name them
