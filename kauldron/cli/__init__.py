"""Commands: `kauldron train`, and the binary `python -m kauldron.main`."""

from __future__ import annotations
