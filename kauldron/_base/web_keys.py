"""Whether a client of a server has one of the keys, told in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping


class Keys:
    """The keys that clients may have. Any client has one if there are none.

    Args:
      keys: The keys.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        # Of one length, so that comparing them tells nothing about it.
        self._digests = [_digest(key) for key in keys]

    def __len__(self) -> int:
        return len(self._digests)

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
