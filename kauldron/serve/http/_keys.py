"""API keys: where they come from."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

from kauldron._base import errors, web_keys

VARIABLE = "KAULDRON_API_KEYS"


class ApiKeyError(errors.UserError, ValueError):
    """Keys cannot be read."""


def read_api_keys(path: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """Returns the keys of a file, one a line, and those of `KAULDRON_API_KEYS`.

    Empty lines and those that begin with `#` are left out; in the variable, commas stand
    between keys.

    Raises:
      ApiKeyError: If the file cannot be read, or has no keys.
    """
    keys = [key.strip() for key in os.environ.get(VARIABLE, "").split(",")]
    if path is not None:
        try:
            lines = pathlib.Path(path).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ApiKeyError(
                f"The keys in {str(path)!r} cannot be read: {error}."
            ) from None
        of_file = [line.strip() for line in lines]
        of_file = [line for line in of_file if line and not line.startswith("#")]
        if not of_file:
            raise ApiKeyError(
                f"{str(path)!r} has no keys. Write one in each line, such as the output of "
                "`python -c 'import secrets; print(secrets.token_urlsafe())'`."
            )
        keys += of_file
    return tuple(dict.fromkeys(filter(None, keys)))


def make_keys(keys: Iterable[str]) -> web_keys.Keys:
    """Returns the keys that clients may have.

    Raises:
      ApiKeyError: If they are one text, not several.
    """
    if isinstance(keys, str):
        raise ApiKeyError("`api_keys` is a list of keys: got one text.")
    return web_keys.Keys(keys)
