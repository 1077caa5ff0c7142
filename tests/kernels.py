"""A real IPython kernel, driven as a notebook does: cells, interrupts, answers to pdb."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import queue
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_client import manager

_ROOT = pathlib.Path(__file__).parents[1]
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclasses.dataclass
class Cell:
    """What came of a cell.

    Attributes:
      stdout: What it printed.
      stderr: Likewise.
      shown: MIME bundles of its result and displays, in order.
      updates: MIME bundles that replaced one of those later.
      error: Name and message of what it raised.
      traceback: As the notebook shows it, without colours.
    """

    stdout: str = ""
    stderr: str = ""
    shown: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    updates: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    error: tuple[str, str] | None = None
    traceback: str = ""

    def add(self, message: dict[str, Any]) -> None:
        content, kind = message["content"], message["msg_type"]
        if kind == "stream":
            name = content["name"]
            text = _ANSI.sub("", content["text"])
            setattr(self, name, getattr(self, name) + text)
        elif kind in ("display_data", "execute_result"):
            self.shown.append(content["data"])
        elif kind == "update_display_data":
            self.updates.append(content["data"])
        elif kind == "error":
            self.error = content["ename"], content["evalue"]
            self.traceback = _ANSI.sub("", "\n".join(content["traceback"]))


class Kernel:
    """A running kernel."""

    def __init__(self, kernel: Any, client: Any) -> None:
        self._kernel, self._client = kernel, client

    def run(
        self,
        code: str,
        *,
        answers: tuple[str, ...] = (),
        timeout_secs: float = 240,
        while_running: Callable[[Cell], None] | None = None,
    ) -> Cell:
        """Runs a cell to its end.

        Args:
          code: Its source.
          answers: What is typed where it asks, such as commands of pdb.
          timeout_secs: How long it may take.
          while_running: Called after each message.
        """
        client, cell, to_type = self._client, Cell(), list(answers)
        request = client.execute(code, allow_stdin=bool(answers))
        end = time.monotonic() + timeout_secs
        while time.monotonic() < end:
            with contextlib.suppress(queue.Empty):
                client.get_stdin_msg(timeout=0)
                client.input(to_type.pop(0))
            try:
                message = client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            cell.add(message)
            if message["content"].get("execution_state") == "idle":
                client.get_shell_msg(timeout=10)
                assert not to_type, f"never asked for {to_type}"
                return cell
            if while_running is not None:
                while_running(cell)
        raise TimeoutError(f"The cell is still running; it has shown {cell}.")

    def value(self, expression: str) -> Any:
        """Returns the value of an expression, of what `repr` can write."""
        import ast

        cell = self.run(f"print(repr(({expression})))")
        assert cell.error is None, cell.traceback
        return ast.literal_eval(cell.stdout)

    def interrupt(self) -> None:
        """Presses the button."""
        self._kernel.interrupt_kernel()


@contextlib.contextmanager
def start(folder: pathlib.Path) -> Iterator[Kernel]:
    """Runs a kernel in a folder, whose modules it can import."""
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(folder), str(_ROOT)]),
        IPYTHONDIR=str(folder / "ipython"),
        JAX_PLATFORMS="cpu",
        PYTHONDONTWRITEBYTECODE="1",
    )
    kernel, client = manager.start_new_kernel(
        kernel_name="python3", cwd=str(folder), env=env
    )
    try:
        yield Kernel(kernel, client)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
