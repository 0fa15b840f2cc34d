"""The server of `trainer demo`: a page for this machine's browser alone that sends photographs to a model."""

import hmac
import json
import math
import re
import secrets
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from trainer.errors import TrainerError
from trainer.evaluation.reporting.pages import render
from trainer.inference.demo import PICTURES, DemoPredictor, Refusal

HOST, MAX_BYTES = "127.0.0.1", 20_000_000
MAX_CONNECTIONS, MAX_HELD_BYTES = 8, 64 * 2**20  # at once, and of all photographs in memory
DRAINED = 10 * MAX_BYTES  # of an upload that is refused
TIMEOUT, DRAIN_TIMEOUT = 30, 2  # s without a byte
DEADLINE = 60.0  # s in which a request must have arrived, however slowly its bytes drip
BUSY = "The page is busy with other photos. Send this one again in a moment."
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
        self.token = secrets.token_urlsafe(16)
        self.names = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._held_bytes, self._held_lock = 0, threading.Lock()

    @property
    def url(self) -> str:
        """Where the page is, with the token that other accounts of this machine do not know."""
        return f"http://{HOST}:{self.server_port}/?token={self.token}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or say at once that all are busy."""
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        body = json.dumps({"error": BUSY})
        head = f"HTTP/1.0 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with suppress(OSError):
            request.settimeout(DRAIN_TIMEOUT)
            request.sendall(f"{head}\r\n\r\n{body}".encode())
            request.shutdown(socket.SHUT_WR)
            request.recv(DRAINED)  # what is closed with bytes unread is reset, and the answer lost
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a request, and let another one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Count the bytes of a photograph as long as it is in memory.

        Raises:
            Refusal: all photographs together would take too much.
        """
        with self._held_lock:
            if self._held_bytes + size > MAX_HELD_BYTES:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, BUSY)
            self._held_bytes += size
        try:
            yield
        finally:
            with self._held_lock:
                self._held_bytes -= size


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    timeout = TIMEOUT

    def handle(self) -> None:
        """Answer, unless the browser has gone or is too slow."""
        self._deadline = threading.Timer(DEADLINE, self._drop)
        self._deadline.daemon = True
        self._deadline.start()
        try:
            with suppress(OSError):
                super().handle()
        finally:
            self._deadline.cancel()

    def _drop(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        """Give the page."""
        self._reply(self._page)

    def do_POST(self) -> None:  # noqa: N802
        """Read a photograph."""
        self._reply(self._answer)

    def _page(self) -> tuple[str, bytes]:
        self._check_sender()
        if urlsplit(self.path).path != "/":
            raise Refusal(HTTPStatus.NOT_FOUND, "There is nothing here. The page is at the address in the terminal.")
        return "text/html", shown(self.server.reader).encode()

    def _answer(self) -> tuple[str, bytes]:
        self._check_sender()
        if urlsplit(self.path).path != "/faces":
            raise Refusal(HTTPStatus.NOT_FOUND, "Photographs are read at /faces.")
        size = self._size()
        with self.server.holding(size):
            data = self._body(size)
            with self.server.turn:
                return "application/json", json.dumps(self.server.reader.answer(data)).encode()

    def _check_sender(self) -> None:
        """Refuse a request of another page, by another name (DNS rebinding), or by someone without the token."""
        origin = self.headers.get("Origin")
        own = {f"http://{name}" for name in self.server.names}
        if self.headers.get("Host") not in self.server.names or origin not in {None, *own}:
            raise Refusal(HTTPStatus.FORBIDDEN, "This page answers itself only. Open the address in the terminal.")
        token = parse_qs(urlsplit(self.path).query).get("token", [""])[0]
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refusal(HTTPStatus.FORBIDDEN, "The address lacks its token. Open the address in the terminal.")

    def _size(self) -> int:
        declared = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,15}", declared):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "The photo came without its size. Send it whole, not in parts.")
        size = int(declared)
        if size > MAX_BYTES:
            most = f"at most {MAX_BYTES / 1e6:.0f} MB are taken"
            sentence = f"This file has {math.ceil(size / 1e6)} MB; {most}. Choose a smaller photo."
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)
        return size

    def _body(self, size: int) -> bytes:
        data = self.rfile.read(size)
        self._deadline.cancel()
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
