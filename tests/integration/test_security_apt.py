"""The security updates that wait, as the real apt tells them of lists and packages of the test's own."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from opsqueue.facts.on_host import advisories_host as host

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(not all(map(shutil.which, ("apt-get", "apt-cache", "dpkg"))), reason="needs apt and dpkg"),
]
SECURITY, UPDATES, MAIN = "bookworm-security", "bookworm-updates", "bookworm"
LABELS = {SECURITY: "Debian-Security", UPDATES: "Debian", MAIN: "Debian"}


class Apt:
    """A root for apt, where nothing is of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "archives/partial"):
            (root / name).mkdir(parents=True)
        said = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
        self.arch = said.stdout.strip()
        (root / "config").write_text(f"""\
Dir "{root}"; Dir::State "{root}"; Dir::State::lists "{root}/lists"; Dir::State::status "{root}/status";
Dir::Cache "{root}"; Dir::Cache::archives "{root}/archives"; Dir::Etc "{root}/etc"; Dir::Etc::parts "apt.conf.d";
Dir::Etc::sourcelist "sources.list"; Dir::Etc::sourceparts "none"; Dir::Etc::preferencesparts "preferences.d";
""")
        self.status: dict[str, str] = {}
        self.lists: dict[str, dict[str, str]] = {SECURITY: {}, UPDATES: {}, MAIN: {}}

    def offer(self, name: str, installed: str, **versions: str) -> None:
        """A package that is installed in one version, and what the archives (security, updates, main) have of it."""
        self.status[name] = installed
        for short, suite in (("security", SECURITY), ("updates", UPDATES), ("main", MAIN)):
            if short in versions:
                self.lists[suite][name] = versions[short]

    def pending(self) -> dict[str, tuple[str, str]]:
        """The installed and the mended version of each security update that waits."""
        now = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())
        sources = []
        for suite, packages in self.lists.items():
            base = self.root / f"lists/mirror.invalid_debian_dists_{suite}"
            sources.append(f"deb http://mirror.invalid/debian {suite} main\n")
            base.with_name(f"{base.name}_InRelease").write_text(
                f"Origin: Debian\nLabel: {LABELS[suite]}\nSuite: {suite}\nCodename: {suite}\nDate: {now}\n"
                f"Architectures: {self.arch}\nComponents: main\n"
            )
            text = "".join(
                f"Package: {name}\nVersion: {version}\nArchitecture: {self.arch}\nMaintainer: x <x@invalid>\nSize: 1\n"
                f"Filename: pool/{name}_{version}.deb\nSHA256: {'0' * 64}\nDescription: x\n\n"
                for name, version in packages.items()
            )
            base.with_name(f"{base.name}_main_binary-{self.arch}_Packages").write_text(text)
        (self.root / "etc/sources.list").write_text("".join(sources))
        (self.root / "status").write_text(
            "".join(
                f"Package: {name}\nStatus: install ok installed\nMaintainer: x <x@invalid>\nArchitecture: {self.arch}\n"
                f"Version: {version}\nDescription: x\n\n"
                for name, version in self.status.items()
            )
        )
        installed = [{"name": name, "source": f"src-{name}"} for name in self.status]
        found: Any = host.apt(installed, {"until": time.monotonic() + 60})
        return {one["source"].removeprefix("src-"): (one["installed"], one["fixed"]) for one in found["updates"]}


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    """Apt, and nothing of this machine's lists."""
    one = Apt(tmp_path)
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(host, "security_lists", lambda: [{"date": time.time(), "until": 0.0}])
    return one


def test_a_security_update_behind_an_ordinary_one_waits(apt: Apt) -> None:
    apt.offer("behind", "1.0-1", security="1.0-1+deb12u1", updates="1.0-1+deb12u2", main="1.0-1")
    apt.offer("same", "1.0-1", security="1.0-2", updates="1.0-2")
    apt.offer("plain", "1.0-1", security="1.0-2")
    assert apt.pending() == {
        "behind": ("1.0-1", "1.0-1+deb12u1"),
        "same": ("1.0-1", "1.0-2"),
        "plain": ("1.0-1", "1.0-2"),
    }


def test_an_ordinary_update_is_no_security_update(apt: Apt) -> None:
    apt.offer("mended", "1.0-1+deb12u1", security="1.0-1+deb12u1", updates="1.0-1+deb12u2")
    apt.offer("newer", "1:1.0-1", security="1.0-9", updates="1:1.0-2")
    apt.offer("ordinary", "1.0-1", updates="1.0-2", main="1.0-1")
    apt.offer("current", "1.0-1", security="1.0-1", main="1.0-1")
    assert apt.pending() == {}


def test_the_archive_is_known_by_what_it_says_of_itself_and_not_by_its_address(apt: Apt) -> None:
    said = subprocess.run(["apt-cache", "policy"], capture_output=True, text=True, check=True).stdout
    assert "mirror.invalid" not in said  # there is nothing yet
    apt.offer("behind", "1.0-1", security="1.0-2", updates="1.0-3")
    assert apt.pending() == {"behind": ("1.0-1", "1.0-2")}
    lines = subprocess.run(["apt-cache", "policy"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert host.security_archives(lines) == {f"http://mirror.invalid/debian {SECURITY}/main {apt.arch} Packages"}
