"""`ConfigOrigin`: the file, overrides and patches that a config was made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class ConfigOrigin:
    """The file, overrides and patches that a config was made from.

    Attributes:
      filename: The config file; empty if there is none.
      overrides: What `--cfg.*` set: path -> text, or flag as written -> `None`.
      patches: What `PatchConfig` changed: path -> value.
    """

    filename: str = ""
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    patches: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def summary(self) -> str:
        """Returns a line per thing, as comments of Python."""
        lines = [f"# {self.filename}"] if self.filename else []
        for path, value in self.overrides.items():
            lines.append(f"# {path}" if value is None else f"# --cfg.{path}={value}")
        lines += [f"# patched: {path} = {v!r}" for path, v in self.patches.items()]
        return "\n".join(lines)


UNKNOWN = ConfigOrigin()
"""Of a config that was made in Python."""
