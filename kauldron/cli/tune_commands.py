"""The commands of tuning, of the command table."""

from __future__ import annotations

from kauldron.cli.command_kinds import Command

ALL: tuple[Command, ...] = ()
