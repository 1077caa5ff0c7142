"""`Publish`: has a publisher told of a training."""

from __future__ import annotations

import dataclasses
from typing import Any

from kauldron.tracking.publishers import _publisher


@dataclasses.dataclass(frozen=True)
class Publish:
    """Tells a publisher of what happens in a training: `cfg.tracking`.

    Attributes:
      to: The publisher.
    """

    to: _publisher.Publisher

    def follow(self, name: str) -> Any:
        """Follows the training inside a block: `cfg.tracking`."""
        from kauldron.tracking.trackers import _following  # trains: needs JAX

        return _following.follow_with_publisher(self.to, name)
