"""Who hears of an operation: a real mail server and a real web server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller


class _Mailbox:
    def __init__(self):
        self.got = []

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 - the name that aiosmtpd calls
        self.got.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"


class _Mail(Controller):
    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]  # the one that the system chose
        super()._trigger_server()


@contextmanager
def mail() -> Iterator[_Mail]:
    """A mail server; what came is in `handler.got`."""
    server = _Mail(_Mailbox(), hostname="127.0.0.1", port=0)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_args):
        pass


@contextmanager
def hook() -> Iterator[ThreadingHTTPServer]:
    """A web server; what was posted is in `got`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
