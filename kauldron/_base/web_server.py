"""Runs the server: a port of one's own, an address to tell, an end that lets streams finish."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from kauldron._base import errors, extras, process_signals, public
from kauldron._base.web_calls import Message, Receive, Send

App = Callable[[Message, Receive, Send], Awaitable[None]]

_KEEP_ALIVE_SECS = 75
_BACKLOG = 2048


class PortError(errors.UserError, OSError):
    """A server cannot have the address that it was told to have."""


def open_port(host: str = "127.0.0.1", port: int = 8000) -> socket.socket:
    """Returns a socket of an address; nobody can connect before `run_server` listens to it.

    So that a port that is taken is told before a model is loaded.

    Args:
      host: Address of a network interface; `"127.0.0.1"` is reached from this machine only,
        `"0.0.0.0"` from all.
      port: 0 takes one that is free.

    Raises:
      PortError: If the address is taken, or none of this machine.
    """
    if not 0 <= port < 2**16:
        raise PortError(f"A port is a number from 0 to 65535: got {port}.")
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortError(f"There is no address {host!r}: {error.strerror}.") from None
    # The port of a server that has just ended can be had at once.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
    except OSError as error:
        found.close()
        raise PortError(
            f"Port {port} of {host} cannot be had: {error.strerror}. Take another: "
            "`--port=0` is one that is free."
        ) from None
    return found


def _address_of(listening: socket.socket) -> str:
    """Returns the URL that a server on a socket is reached at."""
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, str(host))
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def run_server(
    app: App,
    listening: socket.socket,
    *,
    on_start: Callable[[str], None] = lambda address: None,
    on_end: Callable[[], None] = lambda: None,
    drain_secs: int = 60,
) -> None:
    """Serves until SIGTERM or SIGINT; calls in progress are answered before it returns.

    A second SIGINT ends them.

    Args:
      app: An ASGI application, such as `make_app` returns.
      listening: What `open_port` returns; it is closed at the end.
      on_start: Given the address, once clients can connect.
      on_end: Called after the signal, before the calls in progress are waited for.
      drain_secs: How long calls may go on after the signal.

    Raises:
      PortError: If another server has taken the port since it was opened.
    """
    server = _server(app, on_end, drain_secs=drain_secs)
    with listening:
        try:
            listening.listen(_BACKLOG)
        except OSError as error:
            port = listening.getsockname()[1]
            raise PortError(f"Port {port} cannot be had: {error.strerror}.") from None
        # The server raises a signal again once it has ended: it means nothing more then.
        handled = (signal.SIGTERM, signal.SIGINT)
        with process_signals.handled(handled, lambda number, frame: None):
            on_start(_address_of(listening))
            server.run(sockets=[listening])


@contextlib.contextmanager
def background_server(
    app: App,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_end: Callable[[], None] = lambda: None,
) -> Iterator[str]:
    """Serves in a thread while a block runs; yields the address.

    For notebooks and tests. The calls in progress at the end of the block are answered.

    Args:
      app: An ASGI application, such as `make_app` returns.
      host: See `open_port`.
      port: See `open_port`.
      on_end: See `run_server`.

    Raises:
      PortError: If the address is taken, or none of this machine.
    """
    server = _server(app, on_end, drain_secs=10)
    with open_port(host, port) as listening:
        listening.listen(_BACKLOG)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listening]}, daemon=True
        )
        thread.start()
        try:
            yield _address_of(listening)
        finally:
            server.should_exit = True
            thread.join()


def _server(app: App, on_end: Callable[[], None], *, drain_secs: int) -> Any:
    uvicorn = extras.load("uvicorn", needed_by="A server", extra="serve")

    class Server(uvicorn.Server):
        """Tells when it begins to end."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            on_end()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECS,
        timeout_graceful_shutdown=drain_secs,
    )
    return Server(config)


for _public in (PortError, open_port, run_server, background_server):
    public.move(_public, "kauldron.serve")
