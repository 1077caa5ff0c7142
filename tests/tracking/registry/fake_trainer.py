"""What a config can describe in place of a training: it says what would follow it."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class FakeTrainer:
    """Prints what follows it."""

    workdir: str = ""
    tracking: Any = None

    def replace(self, **changes: Any) -> FakeTrainer:
        return dataclasses.replace(self, **changes)

    def train(self) -> None:
        print(self.tracking)
