"""`kauldron ui`: runs in the terminal, up to date while they train."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from kauldron.tracking.comparing import run_source
from kauldron.tracking.pages.terminal import runs_screen

_REFRESH_SECS = 2.0


def show_runs(source: run_source.RunSource) -> None:
    """Shows runs in the terminal until the user quits.

    Args:
      source: Where the runs are from, such as a `Registry`.
    """
    RunsApp(source).run()


class RunsApp(App[None]):
    """All runs, each run, and runs side by side.

    Args:
      source: Where the runs are from, such as a `Registry`.
      refresh_secs: How often it looks for news, at the most.
    """

    TITLE = "kauldron"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "theme", "Light/dark", show=False),
        Binding("question_mark", "keys", "Keys", key_display="?"),
    ]

    def __init__(
        self, source: run_source.RunSource, *, refresh_secs: float = _REFRESH_SECS
    ) -> None:
        super().__init__()
        self._source, self._refresh_secs = source, refresh_secs

    def on_mount(self) -> None:
        """Shows the runs."""
        self.push_screen(
            runs_screen.RunsScreen(self._source, refresh_secs=self._refresh_secs)
        )

    def action_theme(self) -> None:
        """Changes between light and dark."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_keys(self) -> None:
        """Shows what all keys do, or hides it."""
        if self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()
