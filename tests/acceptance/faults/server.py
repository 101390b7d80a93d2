"""A PostgreSQL of our own that can be killed and started again, and a web server that is slow to answer."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

from mailkit import Mailbox, mail_server


def _contract():
    """The database tests know how a PostgreSQL is started here."""
    path = Path(__file__).parents[2] / "contract" / "conftest.py"
    spec = importlib.util.spec_from_file_location("contract_servers", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Postgres:
    """A server on a socket in a directory of its own."""

    def __init__(self):
        self._known = _contract()
        self.directory = tempfile.mkdtemp(prefix="oq-pg-")  # a short path, because a socket's may have 107 bytes
        somebody = self._known._as_somebody(self.directory)
        nowhere = subprocess.DEVNULL
        self._quiet = {"stdout": nowhere, "stderr": nowhere, "cwd": self.directory, **somebody}
        data = f"{self.directory}/data"
        make = ["-D", data, "-U", "opsqueue", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([self._known._program("initdb"), *make], check=True, **self._quiet)
        self._argv = [self._known._program("postgres"), "-D", data, "-k", self.directory, "-c", "listen_addresses="]
        self.start()

    @property
    def url(self):
        return f"postgresql+psycopg://opsqueue@/postgres?host={self.directory}"

    def start(self):
        self.process = subprocess.Popen(self._argv, **self._quiet)
        self._known._until_it_answers(self.directory, self.process)

    def crash(self):
        """Every connection is cut, nothing is tidied up; the next start recovers from the log."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)
        shutil.rmtree(self.directory)


@contextmanager
def counting_servers():
    """A mail server and a web server; the events that each took are in `got`, by `email` and `webhook`."""
    got = {"email": [], "webhook": []}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            got["webhook"].append(self.headers["X-Opsqueue-Event"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words):
            pass

    class Counting(Mailbox):
        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - the name that aiosmtpd calls
            answer = await super().handle_DATA(server, session, envelope)
            got["email"].append(self.got[-1][1]["X-Opsqueue-Event"])
            return answer

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with mail_server(Counting()) as mail:
            yield SimpleNamespace(got=got, mail=mail.port, web=web.server_port)
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


@contextmanager
def slow_web_server():
    """Answers a POST only when `let_go` is set; the events that came are in `got`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            server.got.append(self.headers["X-Opsqueue-Event"])
            server.let_go.wait(20)
            try:
                self.send_response(200)
                self.end_headers()
            except OSError:
                pass  # who asked was killed

        def log_message(self, *_words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.let_go = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def hanging_web_server():
    """Takes every POST and answers none; the events that came are in `got`, `most` were open at the same time."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                server.got.append(self.headers["X-Opsqueue-Event"])
                server.open += 1
                server.most = max(server.most, server.open)
            with suppress(OSError):
                self.rfile.read(1)  # until who asked has had enough
            with lock:
                server.open -= 1
            self.close_connection = True

        def log_message(self, *_words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.open, server.most = [], 0, 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
