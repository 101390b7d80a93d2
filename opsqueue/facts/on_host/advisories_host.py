"""Sent to a host as text: holds its installed packages against advisory data that lie on the host.

Nothing is fetched: the package lists of apt as they are, files in the OSV format (https://ossf.github.io/osv-schema/)
or of debsecan, and only when it is allowed pip-audit, which asks the network. What was compared with nothing is said
to be so. It is longer than other modules because what runs on a host has to be one text.
"""

from __future__ import annotations

import calendar
import functools
import glob
import io
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

MOST_BYTES = 2 << 30
"""Bytes of all advisories together, unpacked."""
MOST_ONE = 64 << 20
"""Bytes of one file of advisories."""
MOST_FOUND = 5000
HEAD = 8192
MOST_TEXT = 8 << 20
"""Bytes of one manifest; lock files are large."""
MANIFEST = re.compile(
    r"/(?:[A-Za-z0-9._-]*[_.-])?(?:requirements|constraints)(?:[_.-][A-Za-z0-9._-]*)?\.(?:txt|in|pip)\Z"
    r"|/requirements/[A-Za-z0-9_-][A-Za-z0-9._-]*\.(?:txt|in)\Z|/[A-Za-z0-9_-][A-Za-z0-9._-]*\.lock\Z"
)
"""Paths of files of requirements, and of lock files."""
PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
MOST_MEMORY = 512 << 20
"""Bytes of memory that this program may ask for."""
DAY = 86400
OSV = "osv"
DIGITS = "0123456789"
"""What dpkg takes for a digit; Python takes others, too."""
PLACES = (
    "/usr/local/lib/python3*/dist-packages",
    "/usr/local/lib/python3*/site-packages",
    "/opt/*/lib/python3*/site-packages",
    "/opt/*/*/lib/python3*/site-packages",
    "/srv/*/lib/python3*/site-packages",
    "/srv/*/*/lib/python3*/site-packages",
    "/home/*/.local/lib/python3*/site-packages",
    "/root/.local/lib/python3*/site-packages",
)
"""Where Python packages lie that are not of the system's own package manager."""

Entry = dict[str, Any]


class Unanswered(Exception):
    """This part cannot be answered, and why."""


# -- versions -----------------------------------------------------------------------------------------------


def _weight(char: str) -> int:
    if char == "~":
        return -1
    if not char or char in DIGITS:
        return 0
    return ord(char) if char.isascii() and char.isalpha() else ord(char) + 256


def _part(one: str, two: str) -> int:
    """Upstream versions or revisions as dpkg compares them: text and numbers in turn, `~` before the end."""
    at, to = 0, 0
    while at < len(one) or to < len(two):
        while (at < len(one) and one[at] not in DIGITS) or (to < len(two) and two[to] not in DIGITS):
            left, right = _weight(one[at : at + 1]), _weight(two[to : to + 1])
            if left != right:
                return -1 if left < right else 1
            at, to = at + 1, to + 1
        first, second = re.match(r"[0-9]*", one[at:]), re.match(r"[0-9]*", two[to:])
        numbers = [int(found.group() or "0") if found else 0 for found in (first, second)]
        if numbers[0] != numbers[1]:
            return -1 if numbers[0] < numbers[1] else 1
        at, to = at + len(first.group() if first else ""), to + len(second.group() if second else "")
    return 0


def debian(one: str, two: str) -> int:
    """-1, 0 or 1: which of two Debian versions is older (deb-version(7))."""
    pairs = []
    for version in (one, two):
        epoch, colon, rest = version.partition(":")
        if not colon:
            epoch, rest = "0", version
        upstream, dash, revision = rest.rpartition("-")
        pairs.append((int(epoch or 0), upstream if dash else rest, revision if dash else ""))
    (left, right) = pairs
    if left[0] != right[0]:
        return -1 if left[0] < right[0] else 1
    return _part(left[1], right[1]) or _part(left[2], right[2])


PEP440 = re.compile(
    r"\s*v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_n>\d*))?"
    r"(?P<post>-(?P<post_short>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_n>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_n>\d*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*",
    re.IGNORECASE,
)
STEPS = {"alpha": 0, "a": 0, "beta": 1, "b": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
LOWEST, HIGHEST = (-1, 0), (9, 0)


def pep440(version: str) -> tuple[Any, ...]:
    """A key by which Python versions sort; ValueError for what is none."""
    found = PEP440.fullmatch(version)
    if not found:
        raise ValueError(f"{version!r} is no version of PEP 440")
    release = [int(word) for word in found["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    dev = (0, int(found["dev_n"] or 0)) if found["dev"] else HIGHEST
    post = (0, int(found["post_short"] or found["post_n"] or 0)) if found["post"] else LOWEST
    if found["pre"]:
        pre = (STEPS[found["pre"].lower()], int(found["pre_n"] or 0))
    else:  # 1.0.dev1 is before 1.0a1
        pre = LOWEST if found["dev"] and not found["post"] else HIGHEST
    words = re.split(r"[-_.]", found["local"].lower()) if found["local"] else []
    local = tuple((1, int(word), "") if word.isdigit() else (0, 0, word) for word in words)
    return (int(found["epoch"] or 0), tuple(release), pre, post, dev, (bool(words), local))


def python(one: str, two: str) -> int:
    """-1, 0 or 1: which of two Python versions is older."""
    left, right = pep440(one), pep440(two)
    return (left > right) - (left < right)


def affected(version: str, ranges: Iterable[Entry], compare: Any) -> tuple[bool, str]:
    """Whether a version lies in one of the ranges of an advisory, and in which version that is mended."""
    hit, fixed = False, ""
    for one in ranges:
        events = [(kind, str(at)) for event in one.get("events", ()) for kind, at in event.items()]
        order = functools.cmp_to_key(functools.partial(earlier, compare))
        inside = False
        for kind, at in sorted(events, key=order):
            step = before(version, at, compare)
            inside = {"introduced": inside or step >= 0, "fixed": inside and step < 0}.get(kind, inside)
            if kind == "last_affected":
                inside = inside and step <= 0
            if kind == "fixed" and step < 0 and not fixed:
                fixed = at
        hit = hit or inside
    return hit, fixed if hit else ""


def earlier(compare: Any, left: tuple[str, str], right: tuple[str, str]) -> int:
    """Which of two events of a range comes first."""
    return before(left[1], right[1], compare)


def before(one: str, two: str, compare: Any) -> int:
    """As compare does; `0` is before all others."""
    if "0" in (one, two):
        return (one != "0") - (two != "0")
    return int(compare(one, two))


# -- what is installed --------------------------------------------------------------------------------------


def dpkg(path: str = "/var/lib/dpkg/status") -> list[Entry]:
    """The installed packages of dpkg with their sources."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            blocks = file.read().split("\n\n")
    except OSError as error:
        raise Unanswered(f"there is no package database of dpkg: {error}") from None
    found = []
    for block in blocks:
        rows: list[tuple[str, str]] = re.findall(r"^(Package|Status|Version|Source): (.*)$", block, re.MULTILINE)
        words = dict(rows)
        if not words.get("Status", "").endswith(" installed"):
            continue
        source, _, version = words.get("Source", words["Package"]).partition(" (")
        found.append({
            "name": words["Package"],
            "version": words["Version"],
            "source": source,
            "source_version": version.rstrip(")") or words["Version"],
        })  # fmt: skip
    return found


def canonical(name: str) -> str:
    """The one spelling of a Python package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python_places(given: Entry) -> list[str]:
    """The directories of Python packages."""
    patterns = given["python_paths"] or PLACES
    return sorted({path for pattern in patterns for path in glob.glob(pattern) if os.path.isdir(path)})


def beginning(path: str, most: int, follow: int = 0, named: Callable[[str], object] = bool) -> bytes:
    """How a regular file begins, if its real path is `named` so.

    Nothing else is opened, for opening alone can reboot a host or wait for ever.
    """
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC | follow)
    try:
        if not named(os.readlink(f"/proc/self/fd/{handle}")):
            raise OSError(f"{path} leads to a file of another sort of name")
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is no regular file")
        with open(f"/proc/self/fd/{handle}", "rb") as file:
            return file.read(most)
    finally:
        os.close(handle)


def text_of(path: str, most: int, named: Callable[[str], object] = bool) -> str:
    """What is in a regular file of such a name; OSError when it is more than that."""
    found = beginning(path, most + 1, named=named)
    if len(found) > most:
        raise OSError(f"{path} has more than {most} bytes")
    return found.decode("utf-8", "replace")


def python_in(place: str) -> Iterator[Entry]:
    """The Python packages of one directory."""
    for path in sorted(glob.glob(os.path.join(glob.escape(place), "*.dist-info", "METADATA"))) + sorted(
        glob.glob(os.path.join(glob.escape(place), "*.egg-info", "PKG-INFO"))
    ):
        try:
            head = beginning(path, HEAD).decode("utf-8", "replace").split("\n\n")[0]
        except OSError as error:
            yield unread(path, error)
            continue
        words = dict(re.findall(r"^(Name|Version): (.*)$", head, re.MULTILINE))
        if len(words) == len(("Name", "Version")):
            yield {"name": canonical(words["Name"]), "version": words["Version"].strip(), "where": shown(place)}


def unread(path: str, error: OSError) -> Entry:
    """What is told of a file that cannot be read as one."""
    name = os.path.basename(os.path.dirname(path) if path.endswith(("METADATA", "PKG-INFO")) else path)
    return {"name": canonical(name), "version": "", "where": path, "why": str(error)}


def shown(text: str) -> str:
    """A text of somebody's as any record can take it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")[:1000]


def is_manifest(path: str) -> bool:
    """Whether the name is that of a file of requirements or a lock file: no other file is anybody's business here."""
    return MANIFEST.search(path) is not None


def manifest(path: str) -> Iterator[Entry]:
    """The pinned packages of a file of requirements or a lock file.

    Of what is not pinned to one version only the line is told: whatever a file holds stays there.
    """
    try:
        text = text_of(path, MOST_TEXT, is_manifest)
    except OSError as error:
        yield unread(path, error)
        return
    for number, name, version in locked(text) if path.endswith(".lock") else required(text):
        if PEP440.fullmatch(version) and PACKAGE.fullmatch(name):
            yield {"name": canonical(name), "version": version, "where": path}
        else:
            yield {"name": f"line {number} of {os.path.basename(path)}", "version": "", "where": path}


def locked(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, name and version of the packages in a lock file."""
    number, last = 1, 0
    for found in re.finditer(r'^name = "([^"\n]+)"\s*^version = "([^"\n]+)"', text, re.MULTILINE):
        number, last = number + text.count("\n", last, found.start()), found.start()
        yield number, found[1], found[2]


def required(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, name and version (empty: none) of the packages in a file of requirements."""
    begun, parts = 1, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        goes_on = line.endswith("\\")
        parts.append(line[:-1] if goes_on else line)
        if goes_on:
            continue
        words = re.match(r"^\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*(==\s*([^\s;,#*]+))?", " ".join(parts))
        if words:
            yield begun, words[1], words[3] or ""
        begun, parts = number + 1, []


def python_packages(given: Entry) -> Entry:
    """All Python packages, and what could not be told of them."""
    found, skipped = [], []
    for place in python_places(given):
        if time.monotonic() > given["until"]:
            skipped.append({"name": "packages", "where": shown(place), "why": "the time was up"})
            continue
        found += list(python_in(place))
    for path in sorted({path for pattern in given["manifests"] for path in glob.glob(pattern)}):
        found += list(manifest(path))
    for one in found:
        if not PEP440.fullmatch(one["version"]):
            why = f"its version {one['version']!r} is none" if one["version"] else "it is not pinned"
            skipped.append({key: shown(value) for key, value in {"why": why, **one}.items()})
    return {"packages": [one for one in found if PEP440.fullmatch(one["version"])], "skipped": skipped}


# -- apt ----------------------------------------------------------------------------------------------------


def apt(installed: list[Entry], given: Entry) -> Entry:
    """The security updates that wait, by the package lists of the host as they are; and how old these are."""
    lists = security_lists()
    if not lists:
        raise Unanswered("apt has no package lists of a security archive: run `apt-get update` there")
    # A package that is held back has its holes all the same.
    said = of_apt(given, "apt-get", "-s", "-q", "--ignore-hold", "-o", "Debug::NoLocking=true", "dist-upgrade")
    waiting = [match for match in map(INSTALLS.match, said) if match]
    mended = {one[1]: one[3] for one in waiting if SECURITY.search(one[4])}
    others = {one[1]: (one[2], one[3]) for one in waiting if one[1] not in mended}
    mended.update(behind(others, given) if others else {})
    sources = {one["name"]: one["source"] for one in installed}
    found: dict[str, Entry] = {}
    for name, version in ((str(one[1]), one[2]) for one in waiting if one[1] in mended):
        source = sources.get(name, name)
        told = {"source": source, "binaries": [], "installed": version, "fixed": mended[name]}
        found.setdefault(source, told)["binaries"].append(name)
    newest = max(lists, key=lambda one: float(one["date"]))
    return {
        "updates": [found[name] for name in sorted(found)],
        "age_days": round((time.time() - newest["date"]) / DAY, 2),
        "expired": bool(newest["until"] and newest["until"] < time.time()),
        "lists": len(lists),
    }


INSTALLS = re.compile(r"Inst (\S+) \[(\S+)\] \((\S+) (.*?) \[")
SECURITY = re.compile(r"Debian-Security|-security\b")


def of_apt(given: Entry, program: str, *words: str) -> list[str]:
    """The lines of a program of apt; no cache is written."""
    argv = [program, "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", *words]
    left = max(1.0, min(100.0, given["until"] - time.monotonic()))
    plain = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=left, check=False, env=plain)
    if done.returncode:
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
        raise Unanswered(f"{program} ended with {done.returncode}: {last[:200]}")
    return done.stdout.decode("utf-8", "replace").splitlines()


def behind(waiting: dict[str, tuple[str, str]], given: Entry) -> dict[str, str]:
    """Security updates that an ordinary update is newer than: by package, the newest version of them."""
    archives = security_archives(of_apt(given, "apt-cache", "policy"))
    found: dict[str, str] = {}
    for name, version, where in offered(of_apt(given, "apt-cache", "policy", *sorted(waiting))):
        old, new = waiting.get(name, ("", ""))
        between = where in archives and old and debian(old, version) < 0 and debian(version, new) <= 0
        if between and debian(found.get(name, old), version) < 0:
            found[name] = version
    return found


def security_archives(said: list[str]) -> set[str]:
    """The archives that say of themselves that they are of security, as `apt-cache policy` names them."""
    found = set()
    last = ""
    for line in said:
        archive = ARCHIVE.match(line)
        if last and re.match(r"\s+release .*\b[lan]=[^,]*security", line, re.IGNORECASE):
            found.add(last)
        last = archive[1] if archive else ""
    return found


ARCHIVE = re.compile(r"\s+-?\d+ (\S.*)$")
OFFER = re.compile(r" (?:   |\*\*\*) (\S+)")


def offered(said: list[str]) -> Iterator[tuple[str, str, str]]:
    """The package, the version and the archive of each row of the tables of `apt-cache policy`."""
    name = version = ""
    for line in said:
        offer, archive = OFFER.match(line), ARCHIVE.match(line)
        if not line.startswith(" "):
            name = line.rstrip().rstrip(":")
        elif offer:
            version = offer[1]
        elif archive:
            yield name, version, archive[1]


def security_lists() -> list[Entry]:
    """The lists of security archives, with their dates."""
    found = []
    for path in glob.glob("/var/lib/apt/lists/*Release"):
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            head = file.read(8192)
            words = dict(re.findall(r"^(Label|Suite|Codename|Date|Valid-Until): (.*)$", head, re.MULTILINE))
            if not re.search(
                r"security", " ".join(words.get(key, "") for key in ("Label", "Suite", "Codename")), re.IGNORECASE
            ):
                continue
            found.append({"date": moment(words.get("Date", "")), "until": moment(words.get("Valid-Until", ""))})
    return [one for one in found if one["date"]]


def moment(text: str) -> float:
    """UNIX seconds of a date in a Release file; 0 for none."""
    with suppress(ValueError):
        return float(calendar.timegm(time.strptime(text.replace("UTC", "").strip(), "%a, %d %b %Y %H:%M:%S")))
    return 0.0


# -- advisories ---------------------------------------------------------------------------------------------


class Data:
    """Advisories from files, each looked at once and then forgotten."""

    def __init__(self, given: Entry, installed: list[Entry], pythons: list[Entry], system: Entry) -> None:
        self.until = given["until"]
        self.paths = list(given["advisories"])
        self.system = f"{system['id'].capitalize()}:{system['version']}"
        self.sources: dict[str, Entry] = {}
        for one in installed:
            entry = self.sources.setdefault(one["source"], {"version": one["source_version"], "binaries": []})
            entry["binaries"].append(one["name"])
        self.binaries = {one["name"]: one for one in installed}
        self.pythons: dict[str, list[Entry]] = {}
        for one in pythons:
            self.pythons.setdefault(one["name"], []).append(one)
        self.files: list[Entry] = []
        self.found: list[Entry] = []
        self.covered: set[str] = set()
        self.others: set[str] = set()
        """Other versions of the same system, which say nothing of this one."""
        self.odd: list[str] = []
        """Advisories whose ranges cannot be compared with what is installed."""
        self.cut = ""
        self.left = MOST_BYTES

    def run(self) -> Entry:
        """Compare with all of them."""
        for path in self.paths:
            self.path(path)
        return {
            "files": self.files,
            "matches": sorted(self.found, key=lambda one: (one["ecosystem"], one["package"], one["id"], one["where"])),
            "covered": sorted(self.covered),
            "others": sorted(self.others),
            "cut": self.cut,
            "odd": [shown(one) for one in self.odd[:100]],
        }

    def late(self) -> bool:
        """Whether the time is up, which is told."""
        if time.monotonic() > self.until:
            self.cut = "the time was up"
        return self.cut == "the time was up"

    def path(self, path: str) -> None:
        """One file, or all files of a directory."""
        entry: Entry = {"path": path, "format": OSV, "advisories": 0, "newest": 0.0}
        if os.path.isdir(path):
            names = sorted(glob.glob(os.path.join(glob.escape(path), "**", "*.json"), recursive=True))
            names += sorted(glob.glob(os.path.join(glob.escape(path), "**", "*.zip"), recursive=True))
            for name in names:
                if not self.late():
                    self.file(name, entry)
        else:
            self.file(path, entry)
        if not entry["advisories"]:
            raise Unanswered(f"{path} holds no advisories")
        newest = entry.pop("newest") or os.path.getmtime(path)
        self.files.append({**entry, "age_days": round((time.time() - newest) / DAY, 2)})

    def file(self, path: str, entry: Entry) -> None:
        """The advisories of one file."""
        if path.endswith(".zip"):
            with zipfile.ZipFile(path) as packed:
                for member in (one for one in packed.infolist() if one.filename.endswith(".json")):
                    self.member(packed, member, entry)
            return
        with open(path, "rb") as file:
            text = self.some(file, path)
        if path.endswith(".json"):
            self.text(text, entry)
        else:
            entry["format"] = "debsecan"
            self.debsecan(text, entry)

    def member(self, packed: zipfile.ZipFile, member: zipfile.ZipInfo, entry: Entry) -> None:
        """The advisories of one file of an archive."""
        if self.late():
            return
        with packed.open(member) as inner:
            self.text(self.some(inner, member.filename), entry)

    def some(self, file: Any, name: str) -> bytes:
        """What is in a file, as long as there is room for it."""
        text: bytes = file.read(min(MOST_ONE, self.left) + 1)
        if len(text) > min(MOST_ONE, self.left):
            raise Unanswered(f"{name} is larger than what is read of advisories")
        self.left -= len(text)
        return text

    def text(self, text: bytes, entry: Entry) -> None:
        """One advisory in the format of OSV, or a list of them."""
        given = json.loads(text)
        for one in given if isinstance(given, list) else given.get("vulns", [given]):
            if self.late():
                return
            entry["advisories"] += 1
            entry["newest"] = max(entry["newest"], iso(one.get("modified", "")))
            # Withdrawn ones were a mistake, and say so themselves.
            for part in () if one.get("withdrawn") else one.get("affected", ()):
                self.part(one, part)

    def part(self, advisory: Entry, part: Entry) -> None:
        """One package of one advisory."""
        package = part.get("package", {})
        ecosystem, name = str(package.get("ecosystem", "")), str(package.get("name", ""))
        if ecosystem == "PyPI":
            self.covered.add(ecosystem)
            for one in self.pythons.get(canonical(name), ()):
                self.hold(advisory, part, {**one, "ecosystem": ecosystem, "binaries": []}, python)
        elif (ecosystem + ":").startswith(self.system + ":") or ecosystem == self.system.partition(":")[0]:
            self.covered.add(self.system)
            if name in self.sources:
                one = {"name": name, "where": "", "ecosystem": self.system, **self.sources[name]}
                self.hold(advisory, part, one, debian)
        elif ecosystem.startswith(self.system.partition(":")[0] + ":"):
            self.others.add(ecosystem)

    def hold(self, advisory: Entry, part: Entry, one: Entry, compare: Any) -> None:
        """Hold an installed package against what an advisory says of it."""
        odd = False
        ranges = [entry for entry in part.get("ranges", ()) if entry.get("type") in ("ECOSYSTEM", "SEMVER")]
        try:
            hit, fixed = affected(one["version"], ranges, compare)
        except ValueError:  # a range in another way of counting
            hit, fixed, odd = False, "", True
        if not hit and one["version"] not in part.get("versions", ()):
            if odd:
                self.odd += [f"{advisory.get('id', '')} of {one['name']}"]
            return
        scores = [*part.get("severity", ()), *advisory.get("severity", ())]
        words = {**advisory.get("database_specific", {}), **part.get("ecosystem_specific", {})}
        self.add({
            "ecosystem": one["ecosystem"],
            "package": one["name"],
            "binaries": one["binaries"][:20],
            "where": one["where"],
            "installed": one["version"],
            "fixed": fixed,
            "id": str(advisory.get("id", "")),
            "aliases": sorted({*map(str, advisory.get("aliases", ())), *map(str, advisory.get("upstream", ()))})[:20],
            "vectors": [str(score.get("score", "")) for score in scores][:4],
            "word": str(words.get("severity") or words.get("urgency") or ""),
            "summary": str(advisory.get("summary", ""))[:200],
            "source": OSV,
        })  # fmt: skip

    def add(self, found: Entry) -> None:
        """Keep what was found, as far as there is room."""
        if len(self.found) < MOST_FOUND:
            self.found.append(found)
        else:
            self.cut = f"more than {MOST_FOUND} advisories are about this host"

    def debsecan(self, text: bytes, entry: Entry) -> None:
        """The format of debsecan: names of advisories, then for each package which versions are mended."""
        with suppress(zlib.error):
            unpacked = zlib.decompressobj()
            text = unpacked.decompress(text, MOST_ONE)
            if unpacked.unconsumed_tail:
                raise Unanswered("the data of debsecan are larger than what is read of advisories")
        lines = io.StringIO(text.decode("utf-8", "replace"))
        if lines.readline().strip() != "VERSION 1":
            raise Unanswered("it is neither .json or .zip in the OSV format nor data of debsecan, version 1")
        names = [words.split(",", 2) for words in iter(lambda: lines.readline().rstrip("\n"), "")]
        for line in iter(lambda: lines.readline().rstrip("\n"), ""):
            if self.late():
                return
            package, number, flags, unstable, others = line.split(",", 4)
            entry["advisories"] += 1
            self.covered.add(self.system)
            self.by_debsecan(package, names[int(number)], flags, {"unstable": unstable, "others": others.split()})

    def by_debsecan(self, package: str, name: list[str], flags: str, mended: Entry) -> None:
        """One line of debsecan: a package by its source (S) or by itself (B)."""
        if flags[:1] == "S":
            known = self.sources.get(package)
        else:
            one = self.binaries.get(package)
            known = {"version": one["version"], "binaries": [package]} if one else None
        if known is None or known["version"] in mended["others"]:
            return
        if mended["unstable"] and debian(known["version"], mended["unstable"]) >= 0:
            return
        urgency = {"L": "low", "M": "medium", "H": "high"}.get(flags[1:2], "")
        self.add({
            "ecosystem": self.system,
            "package": package,
            "binaries": known["binaries"][:20],
            "where": "",
            "installed": known["version"],
            "fixed": mended["others"][-1] if mended["others"] and "F" in flags else "",
            "id": name[0],
            "aliases": [],
            "vectors": [],
            "word": urgency,
            "summary": name[-1][:200],
            "source": "debsecan",
        })  # fmt: skip


def iso(text: str) -> float:
    """UNIX seconds of an ISO time; 0 for none."""
    with suppress(ValueError):
        at = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)  # noqa: UP017 - Python 3.9
        return at.timestamp()
    return 0.0


# -- pip-audit ----------------------------------------------------------------------------------------------


def pip_audit(given: Entry) -> Entry:
    """What pip-audit finds; what it skipped is said, for it ends well when it looked at nothing."""
    if not given["allow_network"]:
        return {"absent": "pip-audit asks the network, which allow_network does not allow"}
    program = shutil.which("pip-audit")
    if not program:
        return {"absent": "pip-audit is not installed"}
    manifests = sorted({path for pattern in given["manifests"] for path in glob.glob(pattern)})
    ways: list[tuple[str, ...]] = [("--path", place) for place in python_places(given)]
    ways += [("--no-deps", "--disable-pip", "-r", path) for path in manifests]
    found: Entry = {"matches": [], "skipped": [], "audited": 0}
    for way in ways:
        # It opens these files itself, and does not look what they are.
        odd = [one for one in (python_in(way[1]) if way[0] == "--path" else manifest(way[-1])) if "why" in one]
        found["skipped"] += odd
        if not odd:
            one_audit(program, way, given, found)
    return found


def one_audit(program: str, way: tuple[str, ...], given: Entry, found: Entry) -> None:
    """One directory or one file."""
    argv = [program, "-f", "json", "--progress-spinner", "off", *way]
    left = given["until"] - time.monotonic()
    if left <= 0:
        found["skipped"].append({"name": os.path.basename(way[-1]), "where": shown(way[-1]), "why": "the time was up"})
        return
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=left, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
        # What it says of a file of requirements quotes that file.
        said = "" if way[-2] == "-r" else f": {last[:200]}"
        raise Unanswered(f"pip-audit of {way[-1]} ended with {done.returncode}{said}") from None
    for one in dependencies:
        if "skip_reason" in one:
            found["skipped"].append({"name": one["name"], "where": way[-1], "why": str(one["skip_reason"])[:200]})
            continue
        found["audited"] += 1
        for each in one.get("vulns", ()):
            found["matches"].append({
                "ecosystem": "PyPI",
                "package": canonical(one["name"]),
                "binaries": [],
                "where": way[-1],
                "installed": one["version"],
                "fixed": (each.get("fix_versions") or [""])[0],
                "id": each["id"],
                "aliases": sorted(each.get("aliases", ())),
                "vectors": [],
                "word": "",
                "summary": str(each.get("description", ""))[:200],
                "source": "pip-audit",
            })  # fmt: skip


# -- what is exploited --------------------------------------------------------------------------------------


def is_catalogue(path: str) -> bool:
    """Whether the name is that of JSON, wherever a link leads to."""
    return path.endswith(".json")


def exploited(given: Entry, answers: list[Entry]) -> Entry:
    """Which of the holes that were found a catalogue of exploited ones (KEV) has."""
    path = given["exploited"]
    data = json.loads(text_of(path, MOST_ONE, is_catalogue))
    holes = {str(one["cveID"]) for one in data["vulnerabilities"]}
    if not holes:
        raise Unanswered(f"{path} holds no holes that are exploited")
    rows = [row for answer in answers for row in answer.get("matches", ())]
    named = {name for row in rows for name in (row["id"], *row["aliases"])}
    newest = iso(str(data.get("dateReleased", ""))) or os.path.getmtime(path)
    age = round((time.time() - newest) / DAY, 2)
    return {"path": path, "holes": len(holes), "named": sorted(holes & named), "age_days": age}


# -- all of it ----------------------------------------------------------------------------------------------


def system() -> Entry:
    """Which system it is."""
    with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
        words = dict(line.strip().split("=", 1) for line in file if "=" in line)
    return {"id": words.get("ID", "").strip("\"'"), "version": words.get("VERSION_ID", "").strip("\"'")}


def answered(part: Any, *words: Any) -> Any:
    """One part, or why there is none."""
    try:
        return part(*words)
    except subprocess.TimeoutExpired as error:
        return {"unknown": f"{error.cmd[0]} did not end within {error.timeout:.0f} s"}
    except MemoryError:
        return {"unknown": "there was not enough memory for it"}
    except (Unanswered, OSError, zipfile.BadZipFile) as error:
        return {"unknown": f"{error}" or type(error).__name__}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        return {"unknown": f"the data are not in a form that is known: {error}"}


def advisories(given: Entry, installed: list[Entry], pythons: list[Entry]) -> Entry:
    """What the given data say of this host."""
    if not given["advisories"]:
        return {"absent": "no advisories were given"}
    return Data(given, installed, pythons, system()).run()


def modest() -> None:
    """Take no more of the host's memory than this needs, and be the first to go when there is none left."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def main() -> None:
    """Print all of it as one line of JSON."""
    modest()
    given = json.loads(sys.argv[1])
    # One end for all parts together; what is left of it is what the last ones get.
    given["until"] = time.monotonic() + float(given["seconds"])
    installed = answered(dpkg)
    known = installed if isinstance(installed, list) else []
    pythons = answered(python_packages, given)
    answer = {
        "packages": len(known) if known else installed,
        "apt": answered(apt, known, given) if known else installed,
        "python": {**pythons, "packages": len(pythons["packages"])} if "packages" in pythons else pythons,
        "advisories": answered(advisories, given, known, pythons.get("packages", [])),
        "pip_audit": answered(pip_audit, given),
    }
    if "exploited" in given:
        answer["exploited"] = answered(exploited, given, [answer["advisories"], answer["pip_audit"]])
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
