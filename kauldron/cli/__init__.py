"""Commands: `kauldron train`, and the binary `python -m kauldron.main`."""

from __future__ import annotations

from kauldron._base import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "config": "kauldron.cli.config",
        "data": "kauldron.cli.data",
        "ConfigOrigin": "kauldron.cli._origin:ConfigOrigin",
        "PatchConfig": "kauldron.testing.small_runs:PatchConfig",
    },
)
