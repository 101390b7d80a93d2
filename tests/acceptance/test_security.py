"""A prepared host is scanned with the real command: what is planted is found by name, and what is mended is told so."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet import Fleet
from scanned import NAME, OUTSIDE, WEAKNESSES, Scanned
from sshkit import Farm, needs_sshd

TOOLS = ("unshare", "nsenter", "chroot", "sshd", "visudo", "apt-get", "dpkg", "ssh-keygen", "lynis")
pytestmark = [pytest.mark.service, pytest.mark.xdist_group("security")]


@pytest.fixture
def host():
    """A prepared host, ended with the test."""
    if os.geteuid() != 0 or not all(shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") for tool in TOOLS):
        pytest.skip("needs root, util-linux, openssh-server, sudo, lynis, apt and dpkg")
    one = Scanned()
    yield one
    one.end()


def by_subject(data, status):
    """What was found with a state, by code and subject."""
    found = [one for one in data["findings"] if one["evidence"].get("status") == status]
    return {(one["evidence"].get("was", one["code"]), one["evidence"]["subject"]): one for one in found}


def numbers(data):
    return {name: metric["value"] for name, metric in data["metrics"][NAME].items()}


def test_planted_weaknesses_are_found_and_mended_ones_are_told_to_be_fixed(host):
    """Acceptance 5 of the issue, with more than 20 weaknesses."""
    words = ("--name", "scan", "--type", "security_scan", "--systems", NAME, "--parameters", "{}")
    (target,) = host.place.ops("plan", *words, "--output", "json").json["targets"]
    asks = [line.partition(":")[0] for line in target["asks"]]
    assert (asks, target["steps"]) == (["advisories", "settings", "files", "lynis"], [])
    assert not [line for line in target["asks"] if "import" in line]
    planted = {(one.code, one.subject) for one in WEAKNESSES}
    assert len(planted) == len(WEAKNESSES) >= 20
    sound = by_subject(host.scan(), "new")
    assert planted & set(sound) == set()
    assert [key for key, one in sound.items() if one["severity"] == "critical"] == []
    for one in WEAKNESSES:
        one.plant(host)

    before = host.everything()
    first = host.scan()
    assert host.everything() == before
    new = by_subject(first, "new")
    assert planted - set(new) == set()
    assert len({one["evidence"]["fingerprint"] for one in new.values()}) == len(new)
    for one in new.values():
        assert one["advice"]
        assert one["host"] == NAME
    hole = new["vulnerable_package", "Debian:12/leaky CVE-2030-0001"]
    assert (hole["severity"], hole["evidence"]["score"]) == ("critical", 9.8)
    assert (hole["evidence"]["installed"], hole["evidence"]["fixed"]) == ("1:1.0~rc1-1", "1:1.0-2")
    assert new["uid_zero", "toor"]["evidence"]["references"] == ["CIS 5.4.2.1", "lynis AUTH-9204"]
    said = " ".join(one["code"] + one["evidence"]["subject"] for one in first["findings"])
    assert "scan_incomplete" not in said
    assert "CVE-2030-9999" not in said  # withdrawn

    again = host.scan()
    standing = by_subject(again, "standing")
    assert planted - set(standing) == set()
    assert (numbers(again)["findings_new"], numbers(again)["findings_fixed"]) == (0, 0)
    same = {key: one["evidence"]["fingerprint"] for key, one in new.items()}
    assert {key: one["evidence"]["fingerprint"] for key, one in standing.items() if key in same} == same

    for one in WEAKNESSES:
        one.mend(host)
    last = host.scan()
    fixed = by_subject(last, "fixed")
    assert planted - set(fixed) == set()
    assert {key: one["evidence"]["fingerprint"] for key, one in fixed.items() if key in same} == {
        key: print_ for key, print_ in same.items() if key in fixed
    }
    assert planted & set(by_subject(last, "standing")) == set()
    assert numbers(last)["findings_fixed"] >= len(planted)
    assert numbers(last)["compliance"] > numbers(first)["compliance"]
    assert last["health_score"] > first["health_score"]
    nowhere_told(host)
    reported(host, first["operation_id"], {"CIS Debian Linux 12 Benchmark", "Vulnerable packages", "New findings"})
    reported(host, last["operation_id"], {"CIS Debian Linux 12 Benchmark", "Fixed since the last scan"})
    for one, state, keys in ((first, "new", new), (again, "unchanged", standing), (last, "absent", fixed)):
        assert planted - set(keys) == set()
        assert planted - in_sarif(host, one["operation_id"], state) == set()


def reported(host, operation_id, titles):
    """As JSON and as HTML, with the same sections and every control by its number."""
    data = host.place.ops("report", operation_id, "--output", "json").json
    sections = {section["title"]: section for section in data["sections"]}
    assert titles <= set(sections)
    page = host.place.ops("report", operation_id, "--output", "html")
    assert page.code == 0, page.err
    for title in titles:
        assert f">{title}<" in page.out
    assert "5.1.20" in json.dumps(sections["CIS Debian Linux 12 Benchmark"])
    assert "5.1.20" in page.out
    assert host.secret not in page.out


def in_sarif(host, operation_id, state):
    """What stands with a state in the log for other programs, which is the same byte for byte at each call."""
    made = host.place.ops("report", operation_id, "--output", "sarif")
    assert made.code == 0, made.err
    assert host.place.ops("report", operation_id, "--output", "sarif").out == made.out
    assert host.secret not in made.out
    (run,) = json.loads(made.out)["runs"]
    assert run["invocations"][0]["executionSuccessful"]
    rows = [one for one in run["results"] if one["baselineState"] == state]
    return {(one["ruleId"], one["locations"][0]["logicalLocations"][0]["name"]) for one in rows}


def nowhere_told(host):
    """Neither the record nor a log knows a hash or a key, in whatever form a row is kept."""
    for path in host.place.directory.rglob("*"):
        if path.is_file() and path.suffix != ".sock" and "/root/" not in str(path):
            text = path.read_bytes()
            assert host.secret.encode() not in text, path
            assert OUTSIDE.split()[1].encode() not in text, path
    with sqlite3.connect(f"file:{next(host.place.state.glob('*.db'))}?mode=ro", uri=True) as record:
        for (table,) in record.execute("select name from sqlite_master where type = 'table'").fetchall():
            assert host.secret not in str(record.execute(f"select * from {table}").fetchall()), table


@pytest.mark.long
def test_a_part_that_could_not_be_asked_is_neither_passed_nor_fixed(host):
    """sshd that does not understand its file, advisories that are gone: what was found before goes on standing."""
    planted = [one for one in WEAKNESSES if one.code in {"ssh_root_login", "vulnerable_package", "uid_zero"}]
    for one in planted:
        one.plant(host)
    first = host.scan()
    host.write("/etc/ssh/sshd_config.d/10-first.conf", "NoSuchWord yes\n", 0o600)
    host.at("/var/lib/advisories/all.zip").rename(host.at("/var/lib/kept.zip"))
    blind = host.scan()
    unverified = by_subject(blind, "unverified")
    assert set(unverified) >= {(one.code, one.subject) for one in planted if one.code != "uid_zero"}
    assert ("uid_zero", "toor") in by_subject(blind, "standing")
    assert by_subject(blind, "fixed") == {}
    missing = {
        one["evidence"]["subject"]: one["message"] for one in blind["findings"] if one["code"] == "scan_incomplete"
    }
    assert "settings.sshd" in missing
    assert "Bad configuration option" in missing["settings.sshd"]
    assert "holds no advisories" in missing["advisories.advisories"]
    assert numbers(blind)["vulnerabilities"] is None
    assert numbers(blind)["controls_unknown"] > numbers(first)["controls_unknown"]
    host.write("/etc/ssh/sshd_config.d/10-first.conf", "PasswordAuthentication no\n", 0o600)
    host.at("/var/lib/kept.zip").rename(host.at("/var/lib/advisories/all.zip"))
    back = by_subject(host.scan(), "standing")
    since = back["ssh_root_login", "PermitRootLogin"]["evidence"]["since"]
    assert since == by_subject(first, "new")["ssh_root_login", "PermitRootLogin"]["evidence"]["since"]


@pytest.mark.long
def test_lynis_is_run_and_keeps_nothing_on_the_host(host):
    """The real one, inside of the prepared host; but for the caches and locks of apt, which it asks itself."""
    before = without_caches(host.everything())
    found = host.scan(checks=["lynis"], lynis_seconds=280)
    told = numbers(found)
    assert 0 < told["lynis_index"] <= 100
    assert told["lynis_tests"] > 50
    assert told["parts_missing"] == 0
    assert all(one["evidence"]["references"] for one in found["findings"] if one["code"] == "lynis_warning")
    assert without_caches(host.everything()) == before
    assert not list(host.at("/tmp").glob("tmp.*"))


def without_caches(everything):
    return {path: one for path, one in everything.items() if "/var/lib/" not in path and "/var/cache/" not in path}


@needs_sshd
def test_two_hosts_are_scanned_over_ssh():
    """The programs are sent as text, also through a shell that is not for them, and each host has its own findings."""
    with Farm(hosts=2) as farm:
        fleet = Fleet(farm)
        try:
            asked = {"checks": ["configuration", "permissions"], "paths": ["/etc/ssh"], "sudo": os.geteuid() == 0}
            words = ("--parameters", json.dumps(asked))
            done, data = fleet.execute("security_scan", *words)
            assert (done.code, data["status"]) == (0, "succeeded"), data["targets"]
            for host in ("h1", "h2"):
                told = {name: metric["value"] for name, metric in data["metrics"][host].items()}
                assert told["files_scanned"] > 0
                assert told["findings_new"] > 0
            prints = [
                {one["evidence"]["fingerprint"] for one in data["findings"] if one["host"] == host}
                for host in ("h1", "h2")
            ]
            assert prints[0]
            assert not prints[0] & prints[1]
            _again, data = fleet.execute("security_scan", *words)
            assert {one["evidence"]["status"] for one in data["findings"]} == {"standing"}
        finally:
            fleet.end()
