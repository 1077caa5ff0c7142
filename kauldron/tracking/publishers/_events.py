"""`Event`: something that happens to a run, as others are told of it."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["started", "metric", "evaluation", "checkpoint", "failed", "ended"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens to a run.

    A run tells `started` first, and `ended` or `failed` last: `ended` with the status
    `done`, or `interrupted` by a signal.

    Attributes:
      kind: What happens.
      run: Name of the run.
      step: Updates so far.
      collection: Of `metric` and `evaluation`: `train`, or the name of an evaluator.
      values: Of these: metric -> value. Of `started`: what the run is told to be.
      status: How it stands: `running`, or how it ended.
      message: Why it failed or was interrupted.
      time: Seconds since 1970.
    """

    kind: Kind
    run: str
    step: int = 0
    collection: str = ""
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    status: str = "running"
    message: str = ""
    time: float = dataclasses.field(default_factory=time.time)

    def to_json(self) -> str:
        """Returns it as one line of strict JSON: NaN is `"NaN"`."""
        fields = dataclasses.asdict(self)
        fields["values"] = {k: _to_json(v) for k, v in self.values.items()}
        kept = {k: v for k, v in fields.items() if v not in ("", {})}
        return json.dumps(kept, allow_nan=False)

    def describe(self) -> str:
        """Returns it as people read it, in one line."""
        match self.kind:
            case "started":
                return f"{self.run} started at step {self.step}"
            case "metric" | "evaluation":
                numbers = ", ".join(
                    f"{name.rpartition('/')[2]} {value:.5g}"
                    if isinstance(value, float)
                    else f"{name.rpartition('/')[2]} {value}"
                    for name, value in self.values.items()
                )
                return f"{self.run} step {self.step}, {self.collection}: {numbers}"
            case "checkpoint":
                return f"{self.run} saved step {self.step}"
        because = f": {self.message.splitlines()[0]}" if self.message else ""
        verb = {"done": "is done", "interrupted": "was interrupted"}.get(
            self.status, "failed"
        )
        return f"{self.run} {verb} at step {self.step}{because}"


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value if isinstance(value, bool | int | float | str) else str(value)
