"""Published import path of what a step measures."""

from __future__ import annotations

from kauldron.step import Auxiliaries, AuxiliariesOutput, AuxiliariesState

__all__ = ["Auxiliaries", "AuxiliariesOutput", "AuxiliariesState"]
