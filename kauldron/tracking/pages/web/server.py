"""A small server for the page of runs: read-only, for this machine alone."""

from __future__ import annotations

import hashlib
import http
import http.server
import importlib.resources
import json
import socket
import urllib.parse
from typing import Any

from kauldron._base import errors
from kauldron.tracking.comparing import run_source
from kauldron.tracking.pages.web import answers

_HOST = "127.0.0.1"
# A page of somebody else must not read what runs are called, so other names of this
# machine are not answered to; and ours may load nothing from elsewhere.
_HOST_NAMES = ("127.0.0.1", "localhost")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; frame-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class ServerError(errors.UserError, OSError):
    """A server that cannot begin."""


class PageServer(http.server.ThreadingHTTPServer):
    """Serves the page until `shutdown`; a context manager.

    Args:
      source: Where the runs are from, such as a `Registry`.
      port: Where; 0 takes one that is free.

    Attributes:
      pages: Path -> HTML.

    Raises:
      ServerError: If the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, source: run_source.RunSource, *, port: int = 0) -> None:
        self.answers = answers.Answers(source)
        page = importlib.resources.files("kauldron.tracking.pages.web") / "page.html"
        self.pages = {"/": page.read_bytes()}
        try:
            super().__init__((_HOST, port), _Handler)
        except OSError as e:
            raise ServerError(
                f"Port {port} cannot be used: {e.strerror or e}. Choose another with "
                "--port, or let one be chosen with --port=0."
            ) from e

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{_HOST}:{self.server_port}/"

    def server_bind(self) -> None:
        """Binds without asking for the name of this machine, which can take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = _HOST, self.server_address[1]


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    @property
    def _of(self) -> PageServer:
        """The server that this belongs to."""
        assert isinstance(self.server, PageServer)
        return self.server

    def version_string(self) -> str:
        """Returns what the server calls itself."""
        return "kauldron"

    def do_GET(self) -> None:
        """Answers with the page, or with JSON."""
        host = urllib.parse.urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if host not in _HOST_NAMES:
            self._json(
                {"problem": "Open this page as http://127.0.0.1."},
                http.HTTPStatus.FORBIDDEN,
            )
            return
        url = urllib.parse.urlsplit(self.path)
        if url.path in self._of.pages:
            self._send(self._of.pages[url.path], "text/html; charset=utf-8")
            return
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            found = self._of.answers.answer(url.path, query)
        except (errors.UserError, ValueError) as e:
            self._json({"problem": str(e)}, http.HTTPStatus.BAD_REQUEST)
        except Exception as e:
            # Whatever happens to one question, the page goes on asking others.
            self.log_error("%s: %s: %s", self.path, type(e).__name__, e)
            problem = {"problem": f"{type(e).__name__}: {e}"}
            self._json(problem, http.HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            if found is None:
                missing = {"problem": f"There is nothing at {url.path}."}
                self._json(missing, http.HTTPStatus.NOT_FOUND)
            else:
                self._json(found)

    do_HEAD = do_GET

    def _json(self, values: Any, status: http.HTTPStatus = http.HTTPStatus.OK) -> None:
        content = json.dumps(values, allow_nan=False, separators=(",", ":")).encode()
        self._send(content, "application/json", status)

    def _send(
        self, content: bytes, kind: str, status: http.HTTPStatus = http.HTTPStatus.OK
    ) -> None:
        tag = f'"{hashlib.blake2s(content, digest_size=12).hexdigest()}"'
        is_known = self.headers.get("If-None-Match") == tag and status == 200
        self.send_response(http.HTTPStatus.NOT_MODIFIED if is_known else status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("ETag", tag)
        if not is_known:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not is_known and self.command == "GET":
            self.wfile.write(content)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Says nothing: the page asks every two seconds."""
