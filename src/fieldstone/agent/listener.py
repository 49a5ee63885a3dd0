"""A small HTTP server for stations on the local network; each upload becomes a reading of the agent.

It answers any path, GET or POST, since consoles differ in what can be set. Bind it to the loopback or a home network:
the protocols carry no signature, so whoever reaches the port can speak for the station.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from fieldstone.agent.adapters import Adapter, Parsed, redact
from fieldstone.errors import EnvironmentProblem, FieldstoneError

_LOG = logging.getLogger("fieldstone.agent")
_LONGEST_UPLOAD = 16_384
_MOST_FIELDS = 300
_PATIENCE_S = 10.0


class Listener:
    """The server. `received` is called with each parsed upload; what it raises is answered with 503."""

    def __init__(self, host: str, port: int, adapter: Adapter, received: Callable[[Parsed], None]) -> None:
        """Bind to `host:port` (port 0: a free one). Raises EnvironmentProblem when that is taken."""
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            timeout = _PATIENCE_S
            server_version = "fieldstone-agent"
            sys_version = ""

            def do_GET(self) -> None:
                self._upload(urlsplit(self.path).query)

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if not length.isascii() or not length.isdigit() or int(length) > _LONGEST_UPLOAD:
                    self._answer(413, "the upload needs a length of at most 16384 bytes")
                    return
                self._upload(self.rfile.read(int(length)).decode("utf-8", "replace"))

            def _upload(self, text: str) -> None:
                try:
                    pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
                    with lock:
                        parsed = adapter.parse(dict(pairs), time.time_ns() // 1_000_000)
                        received(parsed)
                except FieldstoneError as error:
                    _LOG.warning("an upload was not taken: %s (%s)", error, redact(text[:300]))
                    self._answer(400 if error.exit_code == 2 else 503, str(error))
                except ValueError as error:
                    self._answer(400, str(error))
                else:
                    self._answer(200, adapter.success_body)

            def _answer(self, status: int, body: str) -> None:
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                _LOG.debug("%s", redact(format % args))

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise EnvironmentProblem(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="fieldstone-listener", daemon=True)

    def start(self) -> None:
        """Answer in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
