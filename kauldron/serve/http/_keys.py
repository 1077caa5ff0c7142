"""API keys: where they come from, and whether a client has one."""

from __future__ import annotations

import hashlib
import hmac
import os
import pathlib
from collections.abc import Iterable, Mapping

from kauldron._base import errors

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


class Keys:
    """The keys that clients may have. Any client has one if there are none.

    Args:
      keys: The keys.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        if isinstance(keys, str):
            raise ApiKeyError("`api_keys` is a list of keys: got one text.")
        # Of one length, so that comparing them tells nothing about it.
        self._digests = [_digest(key) for key in keys]

    def allow(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has a key: `Authorization: Bearer KEY`, or `x-api-key: KEY`.

        All keys are compared, each in constant time: the time does not tell a key.
        """
        if not self._digests:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = [headers.get("x-api-key", "")]
        if scheme.lower() == "bearer":
            given.append(bearer.strip())
        found = [
            hmac.compare_digest(_digest(key), digest)
            for key in given
            for digest in self._digests
        ]
        return any(found)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
