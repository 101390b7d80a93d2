"""The command line in this process, with a real record that a story of tests/pipeline has written."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from opsqueue.cli.main import main


def _stories():
    path = Path(__file__).resolve().parents[2] / "pipeline" / "conftest.py"
    spec = importlib.util.spec_from_file_location("story_conftest", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_STORIES = _stories()
migrated, one_store, story = _STORIES.migrated, _STORIES.one_store, _STORIES.story


@pytest.fixture(scope="session")
def stories():
    """The nouns of the stories, for a record that several tests read."""
    return _STORIES


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


@pytest.fixture
def line(empty, story):
    """The command line with the record of the story."""
    empty.set(database_url=story.store.url)
    return empty
