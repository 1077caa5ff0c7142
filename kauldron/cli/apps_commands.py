"""The commands of apps, of the command table."""

from __future__ import annotations

from kauldron.cli import apps_server_commands
from kauldron.cli.command_kinds import Command

ALL: tuple[Command, ...] = (*apps_server_commands.ALL,)
