"""The record on SQLite and on a PostgreSQL server of our own, which lives as long as the tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade

_NUMBERS = count(1)


def _stories():
    """The story form of the pipeline's tests, for the few that are told on every database."""
    path = Path(__file__).parents[1] / "pipeline" / "conftest.py"
    spec = importlib.util.spec_from_file_location("pipeline_stories", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _program(name):
    found = shutil.which(name) or next(
        iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        pytest.skip(f"there is no {name} on this machine: install the package postgresql")
    return str(Path(found).resolve())


def _as_somebody(directory):
    """PostgreSQL refuses to be root: who it is then, and the directory given to them."""
    if os.geteuid() != 0:
        return {}
    import pwd  # noqa: PLC0415  # only where there are users

    names = {user.pw_name: user for user in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    os.chown(directory, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def _server():
    initdb, postgres = _program("initdb"), _program("postgres")
    directory = tempfile.mkdtemp(prefix="oq-pg-")  # a short path, because a socket's may have 107 bytes
    somebody = _as_somebody(directory)
    data = f"{directory}/data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": directory, **somebody}
    try:
        subprocess.run(
            [initdb, "-D", data, "-U", "opsqueue", "-A", "trust", "-E", "UTF8", "--no-sync"], check=True, **quiet
        )
        settings = ("listen_addresses=", "fsync=off", "full_page_writes=off")
        arguments = [part for setting in settings for part in ("-c", setting)]
        server = subprocess.Popen([postgres, "-D", data, "-k", directory, *arguments], **quiet)
        try:
            _until_it_answers(directory, server)
            yield directory
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)
    finally:
        shutil.rmtree(directory)


def _until_it_answers(directory, server):
    for _ in range(200):
        if server.poll() is not None:
            pytest.fail(f"PostgreSQL ended with {server.returncode}")
        try:
            psycopg.connect(host=directory, user="opsqueue", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("PostgreSQL does not answer")


@pytest.fixture(scope="session")
def postgres():
    """The directory of the server's socket."""
    with _server() as directory:
        yield directory


def _url(directory, name):
    return f"postgresql+psycopg://opsqueue@/{name}?host={directory}"


def _say(directory, statement):
    with psycopg.connect(host=directory, user="opsqueue", dbname="postgres", autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def postgres_template(postgres):
    _say(postgres, "CREATE DATABASE filled")
    store = Store(_url(postgres, "filled"))
    upgrade(store)
    store.close()
    return "filled"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "filled.db"
    store = Store(f"sqlite:///{path}")
    upgrade(store)
    store.close()
    return path


BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.service)]


@pytest.fixture(params=BOTH)
def empty(request, tmp_path):
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    directory, name = request.getfixturevalue("postgres"), f"empty_{next(_NUMBERS)}"
    _say(directory, f"CREATE DATABASE {name}")
    yield _url(directory, name)
    _say(directory, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=BOTH)
def store(request, tmp_path):
    """A record with all tables and no rows."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "record.db")
        store = Store(f"sqlite:///{tmp_path / 'record.db'}")
        yield store
        store.close()
        return
    directory, name = request.getfixturevalue("postgres"), f"record_{next(_NUMBERS)}"
    _say(directory, f"CREATE DATABASE {name} TEMPLATE {request.getfixturevalue('postgres_template')}")
    store = Store(_url(directory, name))
    yield store
    store.close()
    _say(directory, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def story(store, tmp_path):
    told = _stories()
    machines = {name: told.Machine() for name in ("h1", "h2", "h3")}
    return told.Story(store, told.Clock(), machines, {"state_dir": tmp_path})
