"""`trainer demo`: a page on this machine alone that shows what a model reads of a photograph, and what is near it."""

import json
import math
import re
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from trainer.errors import TrainerError
from trainer.evaluation.reporting.pages import render
from trainer.inference.demo import PICTURES, DemoPredictor, Refusal

HOST, MAX_BYTES = "127.0.0.1", 20_000_000
DRAINED = 10 * MAX_BYTES  # of an upload that is refused
TIMEOUT, DRAIN_TIMEOUT = 30, 2  # s without a byte
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageError(TrainerError):
    """A page that cannot be opened."""


def shown(reader: DemoPredictor) -> str:
    """Return the page."""
    codes = list(reader.near.codes) if reader.near else []
    return render(
        Path(__file__).with_name("page.html"),
        config=reader.model.config,
        codes=codes,
        max_bytes=MAX_BYTES,
        pictures=PICTURES,
    )


class Server(ThreadingHTTPServer):
    """Answers this machine's browsers, one photograph at a time. Nothing of a request is written or logged."""

    daemon_threads = True

    def __init__(self, reader: DemoPredictor, port: int) -> None:
        """Begin to listen.

        Args:
            port: 0 for any that is free.

        Raises:
            PageError: the port is taken.
        """
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            raise PageError(f"port {port} cannot be used ({error}); leave out --port to take a free one") from error
        self.reader, self.turn = reader, threading.Lock()
        self.names = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    timeout = TIMEOUT

    def handle(self) -> None:
        """Answer, unless the browser has gone."""
        with suppress(OSError):
            super().handle()

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        """Give the page."""
        self._reply(self._page)

    def do_POST(self) -> None:  # noqa: N802
        """Read a photograph."""
        self._reply(self._answer)

    def _page(self) -> tuple[str, bytes]:
        self._check_sender()
        if self.path != "/":
            raise Refusal(HTTPStatus.NOT_FOUND, f"There is nothing here. The page is at {self.server.url}")
        return "text/html", shown(self.server.reader).encode()

    def _answer(self) -> tuple[str, bytes]:
        self._check_sender()
        if self.path != "/faces":
            raise Refusal(HTTPStatus.NOT_FOUND, "Photographs are read at /faces.")
        data = self._body()
        with self.server.turn:
            return "application/json", json.dumps(self.server.reader.answer(data)).encode()

    def _check_sender(self) -> None:
        """Refuse a request that another page sent, or that came by another name (DNS rebinding)."""
        origin = self.headers.get("Origin")
        own = {f"http://{name}" for name in self.server.names}
        if self.headers.get("Host") not in self.server.names or origin not in {None, *own}:
            raise Refusal(HTTPStatus.FORBIDDEN, f"This page answers itself only. Open {self.server.url}")

    def _body(self) -> bytes:
        declared = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,15}", declared):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "The photo came without its size. Send it whole, not in parts.")
        size = int(declared)
        if size > MAX_BYTES:
            most = f"at most {MAX_BYTES / 1e6:.0f} MB are taken"
            sentence = f"This file has {math.ceil(size / 1e6)} MB; {most}. Choose a smaller photo."
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)
        data = self.rfile.read(size)
        if len(data) < size:
            raise Refusal(HTTPStatus.BAD_REQUEST, "The photo did not arrive whole. Send it again.")
        return data

    def _reply(self, work: Callable[[], tuple[str, bytes]]) -> None:
        """Send what work returns, or the sentence that it refuses with."""
        status = HTTPStatus.OK
        try:
            kind, body = work()
        except Refusal as refusal:
            status, kind, body = refusal.status, "application/json", json.dumps({"error": refusal.sentence}).encode()
        except (ConnectionError, TimeoutError):  # the browser has gone
            raise
        except Exception:  # a bug: the page says so, the terminal shows it
            traceback.print_exc()
            status, kind = HTTPStatus.INTERNAL_SERVER_ERROR, "application/json"
            body = json.dumps({"error": "The program failed on this photo; its terminal shows where."}).encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if status != HTTPStatus.OK:
            self._drain()

    def _drain(self) -> None:
        """Take what is still being sent: a browser reads no answer before that, and a closed line would drop it."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(DRAIN_TIMEOUT)
        left = DRAINED
        while left > 0 and (part := self.rfile.read1(1 << 16)):
            left -= len(part)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
