"""Last words: a line that is printed if this process dies without a chance to print it.

A process that is killed, or that a library aborts, cannot say what to do next. A shell
that waits beside it can: it holds a pipe open, and prints what it read last when the
process is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import subprocess

# Signals to the whole terminal or job are for the process, not for what waits beside it.
_WAITS = """
trap '' HUP INT TERM QUIT USR1
words=
while IFS= read -r line; do words=$line; done
[ -z "$words" ] || printf '%s\\n' "$words" >&2
"""


class LastWords:
    """What is printed to stderr if this process dies before `close()`, or normally exits.

    Args:
      words: One line.
    """

    def __init__(self, words: str) -> None:
        try:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _WAITS],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
            )
        except OSError:  # no shell: nothing is printed
            self._shell = None
        self.change(words)
        atexit.register(self.close)

    def change(self, words: str) -> None:
        """Replaces the words."""
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError):  # somebody has ended the shell
                self._shell.stdin.write(f"{' '.join(words.split())}\n".encode())

    def close(self) -> None:
        """Nothing will be printed any more."""
        if self._shell is None:
            return
        atexit.unregister(self.close)
        with contextlib.suppress(OSError):
            self._shell.communicate(b"\n")
        self._shell = None
