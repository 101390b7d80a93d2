"""The command line in this process; where a test needs a record, tests/pipeline writes a real one."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from opsqueue.cli.main import main


def pytest_collection():
    gc.disable()  # what is collected stays: to look through it for garbage takes a tenth of the fast tests


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@dataclass
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@dataclass
class Line:
    """`opsqueue --config CONFIG WORDS…`"""

    config: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words):
        status = main(["--config", str(self.config), *words])
        out, err = self.capsys.readouterr()
        return Said(status, out, err)

    def set(self, **more):
        data = json.loads(self.config.read_text())
        self.config.write_text(json.dumps({**data, **more}))


@pytest.fixture
def empty(tmp_path, capsys):
    """The command line where there is no record yet."""
    config = tmp_path / "opsqueue.json"
    config.write_text(
        json.dumps(
            {
                "state_dir": str(tmp_path / "state"),
                "hosts": {"h1": {"connector": "local"}, "h2": {"connector": "local"}},
            }
        )
    )
    return Line(config, capsys)
