"""`RedisPublisher`: events to whoever listens to a channel of Redis."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from kauldron._base import extras
from kauldron.tracking.publishers import _events, _publisher

_TIMEOUT_SECS = 5.0


@dataclasses.dataclass(frozen=True)
class RedisPublisher(_publisher.Publisher):
    """Publishes each event as JSON on a channel.

    Attributes:
      url: Of the server, `redis://localhost:6379/0`.
      channel: Where listeners find them.
    """

    url: str = "redis://localhost:6379/0"
    channel: str = "kauldron"

    @functools.cached_property
    def _redis(self) -> Any:
        return extras.load("redis", needed_by="`RedisPublisher`", extra="redis")

    @functools.cached_property
    def _client(self) -> Any:
        return self._redis.Redis.from_url(
            self.url,
            socket_timeout=_TIMEOUT_SECS,
            socket_connect_timeout=_TIMEOUT_SECS,
        )

    def publish(self, event: _events.Event) -> None:
        try:
            self._client.publish(self.channel, event.to_json())
        except (self._redis.ConnectionError, self._redis.TimeoutError) as e:
            raise ConnectionError(f"Redis at {self.url!r}: {e}") from e

    def close(self) -> None:
        if "_client" in vars(self):
            vars(self).pop("_client").close()
