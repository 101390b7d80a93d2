"""Advisory data of every kind: read with limits, held against what is installed, each hole told once."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opsqueue.facts.on_host import advisories_host as host
from opsqueue.facts.security_shapes import ADVISORIES, EXPLOITED
from opsqueue.facts.shape import shaped
from opsqueue.operations.security import vulnerabilities
from opsqueue.operations.security.params import SecurityScanParams

LONG = {"until": float("inf")}
SYSTEM = {"id": "debian", "version": "12"}
INSTALLED = [
    {"name": "libleaky1", "version": "1.0-1+b2", "source": "leaky", "source_version": "1.0-1"},
    {"name": "leaky-tools", "version": "1.0-1", "source": "leaky", "source_version": "1.0-1"},
]
PYTHONS = [{"name": "leaky-lib", "version": "1.0", "where": "/opt/app"}]


def _advisory(
    identity: str, ecosystem: str = "Debian:12", name: str = "leaky", fixed: str = "1.0-2", **more: Any
) -> Any:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    part = {"package": {"ecosystem": ecosystem, "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"id": identity, "modified": "2030-01-02T03:04:05Z", "affected": [part], **more}


def _compared(*paths: Path, seconds: float = 60) -> Any:
    given = {"advisories": [str(path) for path in paths], "until": time.monotonic() + seconds}
    return host.answered(host.Data(given, INSTALLED, PYTHONS, SYSTEM).run)


def _written(path: Path, *advisories: Any) -> Path:
    path.write_text(json.dumps(list(advisories)))
    return path


def test_a_source_package_is_matched_and_its_binaries_are_named(tmp_path: Path) -> None:
    found = _compared(_written(tmp_path / "a.json", _advisory("CVE-2030-1")))
    (match,) = found["matches"]
    assert (match["package"], match["installed"], match["fixed"]) == ("leaky", "1.0-1", "1.0-2")
    assert match["binaries"] == ["libleaky1", "leaky-tools"]
    assert found["covered"] == ["Debian:12"]


@pytest.mark.parametrize("ecosystem", ["Debian:11", "Debian:123", "Ubuntu:12", "Alpine:v3.12"])
def test_other_systems_are_none_of_this_host(tmp_path: Path, ecosystem: str) -> None:
    found = _compared(_written(tmp_path / "a.json", _advisory("CVE-2030-1", ecosystem)))
    assert (found["matches"], found["covered"]) == ([], [])


def test_withdrawn_advisories_say_nothing_and_other_ways_of_counting_are_told(tmp_path: Path) -> None:
    odd = _advisory("CVE-2030-2", "PyPI", "leaky_lib", fixed="not-a-version")
    found = _compared(_written(tmp_path / "a.json", _advisory("CVE-2030-1", withdrawn="2030-01-01T00:00:00Z"), odd))
    assert found["matches"] == []
    assert found["odd"] == ["CVE-2030-2 of leaky-lib"]
    absent = {name: {"absent": "x"} for name in ("apt", "python", "pip_audit")}
    gaps = vulnerabilities.missing({"advisories": {"packages": 1, "advisories": found, **absent}})
    assert [gap.why for gap in gaps] == ["ranges that cannot be compared: CVE-2030-2 of leaky-lib"]


def test_a_named_version_is_affected_without_a_range(tmp_path: Path) -> None:
    odd = _advisory("PYSEC-1", "PyPI", "Leaky.Lib")
    odd["affected"][0] |= {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}], "versions": ["0.9", "1.0"]}
    (match,) = _compared(_written(tmp_path / "a.json", odd))["matches"]
    assert (match["package"], match["where"], match["fixed"]) == ("leaky-lib", "/opt/app", "")


def test_archives_and_directories_are_read(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("CVE-2030-1.json", json.dumps(_advisory("CVE-2030-1")))
        archive.writestr("README", "no advisory")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "all.zip").write_bytes(packed.getvalue())
    _written(tmp_path / "deep" / "two.json", _advisory("CVE-2030-2"))
    found = _compared(tmp_path)
    assert [match["id"] for match in found["matches"]] == ["CVE-2030-1", "CVE-2030-2"]
    assert found["files"][0]["advisories"] == 2


def test_the_age_is_that_of_the_newest_advisory(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.json", _advisory("CVE-2030-1", modified="2020-01-01T00:00:00Z"))
    days = _compared(path)["files"][0]["age_days"]
    assert days == pytest.approx((time.time() - 1577836800) / 86400, abs=1)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("empty.json", b"[]", "holds no advisories"),
        ("broken.json", b"{", "Expecting"),
        ("cut.zip", b"PK\x03\x04 nothing", "not a zip"),
        ("odd", b"hello\n", "neither .json or .zip"),
        ("later", b"VERSION 2\n\n\n", "neither .json or .zip"),
        ("strange.json", b"[1]", "not in a form"),
    ],
)
def test_data_that_are_none_are_unknown_and_never_clean(tmp_path: Path, name: str, text: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(text)
    found = _compared(tmp_path / name)
    assert set(found) == {"unknown"}
    assert why in found["unknown"]


def test_a_missing_file_is_unknown(tmp_path: Path) -> None:
    assert "No such file" in _compared(tmp_path / "nowhere.json")["unknown"]


def test_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MOST_ONE", 200)
    many = [_advisory(f"CVE-2030-{number}") for number in range(20)]
    assert "larger than what is read" in _compared(_written(tmp_path / "a.json", *many))["unknown"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:  # small, and much when unpacked
        archive.writestr("a.json", " " * 100_000)
    (tmp_path / "bomb.zip").write_bytes(packed.getvalue())
    assert "larger than what is read" in _compared(tmp_path / "bomb.zip")["unknown"]


def test_what_ends_at_its_time_limit_says_so(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.json", _advisory("CVE-2030-1"), _advisory("CVE-2030-2"))
    assert "holds no advisories" in _compared(path, seconds=-1)["unknown"]


def _debsecan(*lines: str) -> bytes:
    names = "CVE-2030-1,,first, with a comma\nCVE-2030-2,,second\n"
    return "\n".join(["VERSION 1", names, *lines, "", "leaky,libleaky1", ""]).encode()


def test_data_of_debsecan_are_read_packed_or_not(tmp_path: Path) -> None:
    text = _debsecan(
        "leaky,0,SH F,1.0-2,1.0-1+deb12u1",  # the source, mended
        "leaky,1,SL  ,,",  # not mended anywhere
        "leaky-tools,1,B   ,0.9-1,",  # older than what is installed
        "leaky-tools,0,BM  ,2.0-1,1.0-1",  # this very version is mended
        "other,0,S   ,,",
    )
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "packed").write_bytes(zlib.compress(text))
    for name in ("plain", "packed"):
        found = _compared(tmp_path / name)
        rows = [(one["id"], one["package"], one["fixed"], one["word"]) for one in found["matches"]]
        assert rows == [("CVE-2030-1", "leaky", "1.0-1+deb12u1", "high"), ("CVE-2030-2", "leaky", "", "low")]
        assert found["files"][0]["advisories"] == 5


# -- what is installed --------------------------------------------------------------------------------------


def test_a_binary_that_was_built_again_has_the_version_of_its_source(tmp_path: Path) -> None:
    """`+b13` is a build of the same source, and no other version of what is mended in it."""
    (tmp_path / "status").write_text(
        "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2+b13\nSource: bash (5.2.15-2)\n\n"
        "Package: libleaky1\nStatus: hold ok installed\nVersion: 1:1.0-1\nSource: leaky\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    rows = [(one["name"], one["source"], one["source_version"]) for one in host.dpkg(str(tmp_path / "status"))]
    assert rows == [("bash", "bash", "5.2.15-2"), ("libleaky1", "leaky", "1:1.0-1")]


def test_python_packages_are_found_and_what_is_not_pinned_is_told(tmp_path: Path) -> None:
    site = tmp_path / "lib/site-packages"
    for name, text in (("a-1.dist-info", "Name: A.b_c\nVersion: 1.0\n\nx"), ("b-2.dist-info", "Name: b\nVersion: ?\n")):
        (site / name).mkdir(parents=True)
        (site / name / "METADATA").write_text(text)
    (tmp_path / "requirements.txt").write_text(
        "# words\n-r other.txt\nC[extra]==3.1 ; python_version > '3' \\\n  --hash=sha256:00\nd>=1\ne\n"
    )
    (tmp_path / "poetry.lock").write_text('[[package]]\r\nname = "F_g"\r\nversion = "2.0rc1"\r\n')
    given = {"python_paths": [str(site)], "manifests": [f"{tmp_path}/require*.txt", f"{tmp_path}/*.lock"], **LONG}
    found = host.python_packages(given)
    assert [(one["name"], one["version"]) for one in found["packages"]] == [
        ("a-b-c", "1.0"),
        ("f-g", "2.0rc1"),
        ("c", "3.1"),
    ]
    assert [one["name"] for one in found["skipped"]] == [
        "b",
        "line 5 of requirements.txt",
        "line 6 of requirements.txt",
    ]


def test_what_is_no_file_in_a_home_is_told_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a FIFO would wait for ever; another device would reboot the host."""
    site = tmp_path / "lib/site-packages"
    for name in ("a-1.dist-info", "b-2.dist-info"):
        (site / name).mkdir(parents=True)
    (site / "a-1.dist-info/METADATA").symlink_to("/dev/zero")
    os.mkfifo(site / "b-2.dist-info/METADATA")
    os.mkfifo(tmp_path / "requirements.txt")
    given = {
        "python_paths": [str(site)],
        "manifests": [f"{tmp_path}/requirements.txt"],
        "allow_network": True,
        "until": time.monotonic() + 60,
    }
    found = host.python_packages(given)
    assert found["packages"] == []
    assert [one["name"] for one in found["skipped"] if "no regular file" in one["why"]] == [
        "a-1-dist-info", "b-2-dist-info", "requirements-txt",
    ]  # fmt: skip
    ran = tmp_path / "ran"
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert len(host.answered(host.pip_audit, given)["skipped"]) == len(found["skipped"])
    assert not ran.exists()


def test_what_somebody_calls_a_package_spoils_no_answer(tmp_path: Path) -> None:
    site = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    (site / "a.dist-info").mkdir(parents=True)
    (site / "a.dist-info/METADATA").write_text(f"Name: a\0\nVersion: {'x' * 6000}\n")
    found = host.python_packages({"python_paths": [str(site)], "manifests": [], **LONG})
    (one,) = found["skipped"]
    assert shaped({"packages": 0, "skipped": [one]}, ADVISORIES["python"])["skipped"][0]["name"] == "a\\x00"


PASSWORDS = "hunter2-plainpassword\nroot:x:0\nzzsecret==1.0\nother==zzsecret\n"


@pytest.mark.parametrize(
    ("name", "leads_to"),
    [
        ("pw", ""),
        ("requirements.txt", "../pw"),
        ("requirements/x.txt", "../../pw"),
        ("poetry.lock", "pw"),
        ("a.txt", ""),
    ],
)
def test_of_a_file_that_is_no_manifest_nothing_is_read(tmp_path: Path, name: str, leads_to: str) -> None:
    (tmp_path / "pw").write_text(PASSWORDS)
    (tmp_path / "home/requirements").mkdir(parents=True)
    path = tmp_path / "home" / name
    path.symlink_to(tmp_path / "pw") if leads_to else path.write_text(PASSWORDS)
    found = host.python_packages({"python_paths": ["/nowhere"], "manifests": [str(path)], **LONG})
    assert found["packages"] == []
    assert ["sort of name" in one["why"] for one in found["skipped"]] == [True]
    assert not {"hunter2", "secret"} & set(re.findall("hunter2|secret", json.dumps(found)))


@pytest.mark.parametrize("name", ["requirements.txt", "poetry.lock"])
def test_what_a_manifest_holds_is_told_by_its_line(tmp_path: Path, name: str) -> None:
    text = "hunter2\n==2.0.secret\nok==1.0 \\\n  --hash=x\nother==secret\n"
    if name == "poetry.lock":
        text = 'name = "ok"\nversion = "1.0"\n\n'
        text += 'name = "hunter2"\nversion = "secret"\nname = "secret words"\nversion = "1"\n'
    (tmp_path / name).write_text(text)
    found = host.python_packages({"python_paths": ["/nowhere"], "manifests": [str(tmp_path / name)], **LONG})
    assert [one["name"] for one in found["packages"]] == ["ok"]
    lines = (1, 5) if name == "requirements.txt" else (4, 6)
    assert [(one["name"], one["why"]) for one in found["skipped"]] == [
        (f"line {number} of {name}", "it is not pinned") for number in lines
    ]


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "/etc/*", "/srv/*.txt", "requirements.txt", "/srv/requirements.txt/x", "/a.lock.b"]
)
def test_what_is_called_otherwise_is_no_parameter(path: str) -> None:
    with pytest.raises(ValidationError, match="requirements"):
        SecurityScanParams(manifests=(path,))


def test_manifests_are_parameters() -> None:
    for path in (
        "/srv/a/requirements.txt",
        "/srv/*/requirements-[ab]*.txt",
        "/a/requirements/*.txt",
        "/a/*.lock",
        "/uv.lock",
    ):
        assert SecurityScanParams(manifests=(path,)).manifests == (path,)


def test_a_manifest_without_end_is_told(tmp_path: Path) -> None:
    with (tmp_path / "requirements.txt").open("wb") as file:
        file.truncate(1 << 40)
    (one,) = host.python_packages(
        {"python_paths": ["/nowhere"], "manifests": [f"{tmp_path}/requirements.txt"], **LONG}
    )["skipped"]
    assert "has more than" in one["why"]


def _fake_audit(tmp_path: Path, text: str, code: int, monkeypatch: pytest.MonkeyPatch, seconds: float = 60) -> Any:
    """A program by that name which prints what the real one printed."""
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.stdout.write({text!r})\nsys.exit({code})\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "requirements.txt").write_text("jinja2==2.10\n")
    given = {
        "allow_network": True,
        "manifests": [f"{tmp_path}/requirements.txt"],
        "python_paths": ["/nowhere"],
        "until": time.monotonic() + seconds,
    }
    return host.answered(host.pip_audit, given)


OFFLINE = (
    '{"dependencies": [{"name": "jinja2", "skip_reason": "Dependency not found on PyPI and could not be audited: '
    'jinja2 (2.10)"}], "fixes": []}'
)
HOLES = (
    '{"dependencies": [{"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-2019-217", "fix_versions": '
    '["2.10.1"], "aliases": ["CVE-2019-10906"], "description": "x"}]}], "fixes": []}'
)


def test_pip_audit_without_network_is_not_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints that nothing is known and ends with 0, as version 2.10 did; all of it was left out."""
    found = _fake_audit(tmp_path, OFFLINE, 0, monkeypatch)
    assert (found["audited"], [one["name"] for one in found["skipped"]]) == (0, ["jinja2"])
    facts = {"advisories": {"packages": 1, "apt": {}, "python": {}, "advisories": {}, "pip_audit": found}}
    facts["advisories"] |= {name: {"absent": "x"} for name in ("apt", "python", "advisories")}
    assert [gap.part for gap in vulnerabilities.missing(facts)] == ["advisories.pip_audit"]


def test_what_pip_audit_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (match,) = _fake_audit(tmp_path, HOLES, 1, monkeypatch)["matches"]
    assert (match["id"], match["fixed"], match["aliases"]) == ("PYSEC-2019-217", "2.10.1", ["CVE-2019-10906"])


def test_pip_audit_gets_the_time_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _fake_audit(tmp_path, HOLES, 1, monkeypatch, seconds=-1)
    assert ([one["why"] for one in found["skipped"]], found["matches"]) == (["the time was up"], [])


@pytest.mark.parametrize("name", ["plain", "all.zip", "deep"])
def test_what_is_read_of_advisories_ends_with_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "plain").write_bytes(_debsecan("leaky,0,S   ,,", "leaky,1,S   ,,"))
    (tmp_path / "deep").mkdir()
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for number in (1, 2):
            text = json.dumps(_advisory(f"CVE-2030-{number}"))
            archive.writestr(f"{number}.json", text)
            (tmp_path / f"deep/{number}.json").write_text(text)
    given = {"advisories": [str(tmp_path / name)], **LONG}
    data = host.Data(given, INSTALLED, PYTHONS, SYSTEM)
    add = data.add

    def last(found: Any) -> None:
        add(found)
        data.until = 0.0

    monkeypatch.setattr(data, "add", last)
    found = data.run()
    assert (len(found["matches"]), found["cut"]) == (1, "the time was up")


def test_python_packages_end_with_the_time(tmp_path: Path) -> None:
    found = host.python_packages({"python_paths": [str(tmp_path)], "manifests": [], "until": 0.0})
    assert [one["why"] for one in found["skipped"]] == ["the time was up"]


def test_pip_audit_that_fails_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ended with 1" in _fake_audit(tmp_path, "", 1, monkeypatch)["unknown"]


def test_the_network_is_not_asked_unless_it_is_allowed() -> None:
    assert "allow_network" in host.pip_audit({"allow_network": False})["absent"]


# -- what is exploited --------------------------------------------------------------------------------------

KEV = {
    "title": "a catalogue",
    "dateReleased": "2030-01-02T03:04:05.6789Z",
    "vulnerabilities": [{"cveID": "CVE-2030-1", "vendorProject": "x"}, {"cveID": "CVE-2030-7"}],
}


def _exploited(path: Path, *rows: Any) -> Any:
    return host.answered(host.exploited, {"exploited": str(path)}, [{"matches": list(rows)}, {"absent": "x"}])


def test_a_hole_is_marked_when_a_catalogue_has_one_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "kev.json").write_text(json.dumps(KEV))
    rows = [_row("DEBIAN-CVE-2030-1", "CVE-2030-1"), _row("CVE-2030-2")]
    told = _exploited(tmp_path / "kev.json", *rows)
    assert (told["holes"], told["named"]) == (2, ["CVE-2030-1"])
    assert shaped(told, EXPLOITED["exploited"]) == told
    data = {"files": [], "matches": rows, "covered": [], "others": [], "cut": "", "odd": []}
    facts = {"advisories": {"packages": 1, "advisories": data, "exploited": told}}
    found = {
        one.evidence["id"]: one for one in vulnerabilities.found(SecurityScanParams(), facts) if "id" in one.evidence
    }
    assert {name: one.evidence["exploited"] for name, one in found.items()} == {"CVE-2030-1": True, "CVE-2030-2": False}
    assert "which is exploited already" in found["CVE-2030-1"].message
    metrics = {one.name: one.value for one in vulnerabilities.metrics(facts)}
    assert metrics["vulnerabilities_exploited"] == 1


def test_without_a_catalogue_nothing_is_said_of_it() -> None:
    data = {"files": [], "matches": [_row("CVE-2030-1")], "covered": [], "others": [], "cut": "", "odd": []}
    facts = {"advisories": {"packages": 1, "advisories": data}}
    (one,) = vulnerabilities.found(SecurityScanParams(), facts)
    assert "exploited" not in one.evidence
    assert "vulnerabilities_exploited" not in {one.name for one in vulnerabilities.metrics(facts)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"vulnerabilities": []}', "holds no holes"),
        ('{"secret": "hunter2"}', "not in a form"),
        ("hunter2", "not in a form"),
        ('["hunter2"]', "not in a form"),
    ],
)
def test_a_catalogue_that_is_none_is_missing_and_not_told(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "kev.json").write_text(text)
    told = _exploited(tmp_path / "kev.json")
    assert why in told["unknown"]
    assert "hunter2" not in told["unknown"]
    absent = {name: {"absent": "x"} for name in ("apt", "python", "pip_audit", "advisories")}
    facts = {"advisories": {"packages": 1, **absent, "exploited": told}}
    assert [gap.part for gap in vulnerabilities.missing(facts)] == ["advisories.exploited"]
    assert {one.name: one.value for one in vulnerabilities.metrics(facts)}["vulnerabilities_exploited"] is None


def test_an_old_catalogue_is_told(tmp_path: Path) -> None:
    (tmp_path / "kev.json").write_text(json.dumps({**KEV, "dateReleased": "2020-01-01T00:00:00Z"}))
    facts = {"advisories": {"packages": 1, "exploited": _exploited(tmp_path / "kev.json")}}
    (one,) = vulnerabilities.found(SecurityScanParams(), facts)
    assert (one.code, one.subject, one.part) == (
        "advisories_old", str(tmp_path / "kev.json"), "advisories.exploited",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/etc/shadow", "kev.json", "/srv/kev.json.gz"])
def test_what_is_called_otherwise_is_no_catalogue(path: str) -> None:
    with pytest.raises(ValidationError, match=r"\.json"):
        SecurityScanParams(exploited=path)


# -- each hole once -----------------------------------------------------------------------------------------


def _row(identity: str, *aliases: str, **more: Any) -> dict[str, Any]:
    return {
        "ecosystem": "Debian:12", "package": "leaky", "binaries": ["leaky"], "where": "", "installed": "1", "fixed": "",
        "id": identity, "aliases": list(aliases), "vectors": [], "word": "", "summary": "", "source": "osv", **more,
    }  # fmt: skip


def _holes(*rows: dict[str, Any], audit: tuple[dict[str, Any], ...] = ()) -> list[Any]:
    data = {"files": [], "matches": list(rows), "covered": [], "others": [], "cut": ""}
    return vulnerabilities.matches({"advisories": {"advisories": data, "pip_audit": {"matches": list(audit)}}})


def test_names_of_one_hole_are_one_finding() -> None:
    (one,) = _holes(
        _row("GHSA-1", "PYSEC-1"), _row("PYSEC-1", "CVE-2030-1", fixed="2"), _row("CVE-2030-1", source="debsecan")
    )
    assert (one["id"], one["aliases"], one["fixed"]) == ("CVE-2030-1", ["GHSA-1", "PYSEC-1"], "2")
    assert one["sources"] == ["debsecan", "osv"]


def test_a_bundle_does_not_glue_its_holes_together() -> None:
    bundle = _row("DSA-1-1", "CVE-2030-1", "CVE-2030-2")
    assert [one["id"] for one in _holes(bundle, _row("CVE-2030-1"), _row("CVE-2030-2"))] == ["CVE-2030-1", "CVE-2030-2"]
    assert [one["id"] for one in _holes(bundle, _row("CVE-2030-1"))] == ["CVE-2030-1", "DSA-1-1"]


def test_the_same_hole_in_two_places_is_two() -> None:
    one, two = _row("PYSEC-1", ecosystem="PyPI", where="/a"), _row("PYSEC-1", ecosystem="PyPI", where="/b")
    assert [each["where"] for each in _holes(one, audit=(two,))] == ["/a", "/b"]


def test_thousands_of_holes_of_one_package_are_told() -> None:
    """A kernel has so many; a chain of names is one hole, however long it is."""
    chain = [_row(f"X-{number}", f"X-{number + 1}") for number in range(2000)]
    many = [_row(f"DEBIAN-CVE-2030-{number}", f"CVE-2030-{number}") for number in range(3000)]
    found = _holes(*chain, *many)
    assert len(found) == 3001
    assert found[-1]["id"] == "X-0"
