"""What the documentation shows is run: each `console` block, in order, and what it prints holds the words shown.

A fence with a file name writes that file first. The README runs as a newcomer has it: no configuration, nothing
running. The other pages have the example configuration and a system that runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from opsqueue.embedded.leash import leashed
from opsqueue.embedded.redis import EmbeddedRedis, running

pytestmark = pytest.mark.service
ROOT = Path(__file__).parents[2]
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "```console" in page.read_text(encoding="utf-8")]
_FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Step:
    """One command, the status it is to end with, and the lines shown below it."""

    command: str
    shown: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        found = re.search(r"# exit (\d+)$", self.command)
        return int(found[1]) if found else 0


def steps(page: Path, place: Path) -> Iterator[Step]:
    """The commands of a page; files that it shows are written on the way."""
    for language, name, body in _FENCE.findall(page.read_text(encoding="utf-8")):
        if name:
            (place / name).write_text(body, encoding="utf-8")
        if language == "console":
            yield from commands(body)


def commands(body: str) -> list[Step]:
    found: list[Step] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:]))
        else:
            found[-1].shown.append(line)
    return found


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("OPSQUEUE_", "XDG_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "HOME": str(home), "PATH": path, "NO_COLOR": "1", **more}


def run_page(page: Path, place: Path, env: dict[str, str]) -> int:
    count = 0
    for step in steps(page, place):
        done = subprocess.run(
            ["/bin/bash", "-c", step.command],
            env=env, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=45, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == step.status, f"$ {step.command}\n{said}"
        for line in step.shown:
            missing = [word for word in words(line) if word not in said]
            assert not missing, f"$ {step.command}\nshown: {line}\nnot printed: {missing}\n{said}"
        count += 1
    return count


def words(line: str) -> list[str]:
    """The words of a shown line that do not change from run to run; what touches `…` may be anything."""
    return [word for word in line.split() if "…" not in word and not re.fullmatch(r"[\d.:,/Z-]+|✓", word)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def wait_until(found, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)


def test_the_readme_runs_as_a_newcomer_has_it(home: Path, tmp_path: Path) -> None:
    assert run_page(ROOT / "README.md", tmp_path, environment(home)) >= 5
    redis = home / ".local/state/opsqueue/redis"
    wait_until(lambda: not running(redis))  # the embedded system ends by itself


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """`opsqueue up` with the example configuration; the environment in which its commands run."""
    home = tmp_path_factory.mktemp("up")
    env = environment(home, OPSQUEUE_CONFIG=str(ROOT / "deploy/opsqueue.example.json"))
    redis = home / ".local/state/opsqueue/redis"
    argv = leashed([sys.executable, "-m", "opsqueue", "up", "--no-flower"])
    with (home / "up.txt").open("w") as output:
        process = subprocess.Popen(argv, env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            wait_until(lambda: running(redis))
            yield {**env, "BROKER_URL": EmbeddedRedis(redis).url}
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page: Path, tmp_path: Path, system: dict[str, str]) -> None:
    env = dict(system)
    if "```json opsqueue.json" in page.read_text(encoding="utf-8"):
        del env["OPSQUEUE_CONFIG"]  # the page shows the file in the working directory
    assert run_page(page, tmp_path, env) > 0
