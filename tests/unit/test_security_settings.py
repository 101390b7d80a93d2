"""What the settings of a host come to: sudoers with all they include, kinds of hashes, sockets, sources of packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opsqueue.facts.on_host import program, settings_host
from opsqueue.operations.security.params import SecurityScanParams
from opsqueue.operations.security.rule import State, judge
from opsqueue.operations.security.rules_ssh import SUDO

SECRET = "zzSecretOfAHashzz"
HASHES = [
    ("", "empty"),
    ("!", "locked"),
    ("*", "locked"),
    ("!$6$x$y", "locked"),
    ("$y$j9T$x$y", "yescrypt"),
    ("$gy$j9T$x$y", "yescrypt"),
    ("$7$x", "scrypt"),
    ("$6$x$y", "SHA-512"),
    ("$5$x$y", "SHA-256"),
    ("$2b$12$x", "bcrypt"),
    ("$1$x$y", "MD5"),
    ("$md5$x", "MD5"),
    ("$3$$x", "NT"),
    ("_J9..rasmBYk8r9AiWNc", "DES"),
    ("abJnggxhB/yWI", "DES"),
    ("something", "other"),
]


@pytest.mark.parametrize(("field", "kind"), HASHES)
def test_the_kind_of_a_hash_is_told_apart(field: str, kind: str) -> None:
    assert settings_host.hash_kind(field) == kind


def test_hashes_do_not_leave_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/etc/shadow": [
            f"ann:$1$ab${SECRET}:19000:0:99999:7:::",
            "bob:$y$j9T$x:1:0:90:7:::",
            "eve::1:0:90:7:::",
            "odd",
        ],
        "/etc/passwd": ["ann:x:1:1::/:/bin/sh", "max::2:2::/:/bin/sh"],
    }
    monkeypatch.setattr(settings_host, "lines", files.__getitem__)
    found = settings_host.passwords({})
    assert found["kinds"] == {"MD5": ["ann"], "empty": ["eve", "max", "odd"], "yescrypt": ["bob"]}
    assert found["endless"] == ["ann"]
    assert SECRET not in json.dumps(found)


def test_who_has_the_group_shadow_as_the_first_one_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/etc/passwd": ["root:x:0:0::/root:/bin/sh", "eve:x:1001:42::/home/eve:/bin/sh", "ann:x:1000:1000::/:/bin/sh"],
        "/etc/group": ["root:x:0:", "shadow:x:42:max", "ann:x:1000:"],
    }
    monkeypatch.setattr(settings_host, "lines", files.__getitem__)
    assert settings_host.accounts({})["shadow_members"] == ["eve", "max"]
    files["/etc/group"][1] = "shadow:x:43:"
    assert settings_host.accounts({})["shadow_members"] == []
    del files["/etc/group"][1]
    assert settings_host.accounts({})["shadow_members"] == []


def _sudo(path: Path, **files: str) -> Any:
    (path / "d").mkdir()
    for name, text in files.items():
        where = path / name.replace("_", "/").replace("-dot-", ".")
        where.write_text(text)
        where.chmod(0o440)
    return settings_host.sudo({"sudoers": str(path / "sudoers")})


def _found(answer: Any) -> dict[str, list[str]]:
    judged = [judge(rule, {"settings": {"sudo": answer}}) for rule in SUDO]
    return {one.rule.code: [p.subject for p in one.problems] for one in judged if one.state is State.FAIL}


def test_all_included_files_of_sudo_are_read_and_no_other(tmp_path: Path) -> None:
    answer = _sudo(
        tmp_path,
        sudoers="Defaults use_pty\n@includedir d\n#include more\n",
        d_one="ann ALL=(ALL) NOPASSWD: \\\n  ALL\n",
        **{"d_left-dot-out": "bob ALL=(ALL) NOPASSWD: ALL\n", "d_old~": "eve ALL=(ALL) NOPASSWD: ALL\n"},
        more="Defaults logfile=/var/log/sudo.log, timestamp_timeout = 60\n",
    )
    found = _found(answer)
    assert found.pop("sudo_file_writable", None) in (None, sorted(answer["loose"]))  # without root they are not root's
    assert found.pop("sudo_invalid", None) in (None, ["sudoers"])  # nor does visudo take them then
    assert found == {"sudo_nopasswd_all": ["ann"], "sudo_timeout": ["timestamp_timeout"]}


RULES = [
    ("ann ALL=(ALL) NOPASSWD: ALL", {"sudo_nopasswd_all": ["ann"]}),
    ("%wheel ALL=(ALL:ALL) NOPASSWD: SETENV: ALL", {"sudo_nopasswd_all": ["%wheel"]}),
    (
        "ann ALL=(root) NOPASSWD: /usr/bin/systemctl restart x, /bin/ls",
        {"sudo_nopasswd": ["ann /bin/ls", "ann /usr/bin/systemctl"]},
    ),
    ("ann ALL=(root) NOPASSWD: /bin/ls, PASSWD: ALL", {"sudo_nopasswd": ["ann /bin/ls"]}),
    ("ann ALL=NOPASSWD: /bin/a\nann ALL=NOPASSWD: /bin/b", {"sudo_nopasswd": ["ann /bin/a", "ann /bin/b"]}),
    ("ann ALL=(ALL) NOPASSWD : ALL", {"sudo_nopasswd_all": ["ann"]}),
    ("ann ALL=(ALL) NOPASSWD :/bin/ls, PASSWD : ALL", {"sudo_nopasswd": ["ann /bin/ls"]}),
    ("Cmnd_Alias EVERY = /bin/ls, ALL\nann ALL = NOPASSWD: EVERY", {"sudo_nopasswd_all": ["ann"]}),
    ("Cmnd_Alias SOME = /bin/ls\nann ALL = NOPASSWD: SOME", {"sudo_nopasswd": ["ann SOME"]}),
    ("ann ALL=(ALL) ALL # NOPASSWD: ALL", {}),
    ("# ann ALL=(ALL) NOPASSWD: ALL", {}),
    ("Defaults !authenticate", {"sudo_no_authentication": ["!authenticate"]}),
    ("Defaults:ann !authenticate", {"sudo_no_authentication": [":ann !authenticate"]}),
    ("Defaults authenticate, timestamp_timeout=15", {}),
    ("Defaults timestamp_timeout=-1", {"sudo_timeout": ["timestamp_timeout"]}),
]


@pytest.mark.parametrize(("text", "wanted"), RULES)
def test_what_lines_of_sudoers_mean(tmp_path: Path, text: str, wanted: dict[str, list[str]]) -> None:
    found = _found(_sudo(tmp_path, sudoers=f"{text}\n"))
    for code in ("sudo_pty", "sudo_log", "sudo_file_writable", "sudo_invalid"):
        found.pop(code, None)
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("auth [success=1 default=ignore] pam_unix.so nullok", True),
        ("auth required pam_unix.so \\\n  nullok", True),
        ("auth [success=1 default=ignore] pam_unix.so try_first_pass # nullok", False),
        ("# auth required pam_unix.so nullok", False),
        ("auth required pam_unix.so nullok_secure", False),
        ("auth required pam_permit.so nullok", False),
    ],
)
def test_pam_lets_nobody_in_by_a_comment(text: str, wanted: bool) -> None:
    assert settings_host.takes_empty(text.splitlines()) is wanted


def test_files_that_include_themselves_end(tmp_path: Path) -> None:
    (tmp_path / "sudoers").write_text(f"@include {tmp_path}/sudoers\n")
    assert len(list(settings_host.sudo_files(str(tmp_path / "sudoers"), 0))) == settings_host.DEEP + 1


def test_addresses_of_sockets() -> None:
    assert settings_host.address_of("0100007F") == "127.0.0.1"
    assert settings_host.address_of("00000000") == "0.0.0.0"
    assert settings_host.address_of("0" * 32) == "::"
    assert settings_host.address_of("00000000000000000000000001000000") == "::1"


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 111 1 0 100 0 0 10 0
   1: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 112 1 0 100 0 0 10 0
   2: 0A00000A:0016 0B00000A:C001 01 00000000:00000000 00:00000000 00000000     0        0 113 1 0 100 0 0 10 0
"""


def test_who_listens_where_others_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_host, "lines", lambda _path: TCP.splitlines())
    first, second = settings_host.sockets("tcp", {"111": {"7": "redis-server"}})
    told = {"protocol": "tcp", "address": "0.0.0.0", "everywhere": True, "port": 6379, "program": "redis-server"}
    assert settings_host.entry(first, range(0)) == {**told, "given": False}
    assert (first["inside"], second["inside"], first["holders"]) == (False, True, ["7"])


SOURCES = [
    ("deb [trusted=yes] http://x.invalid/ ./", True),
    ("deb [arch=amd64 trusted=yes signed-by=/x] http://x.invalid/ y main", True),
    ("  deb-src [allow-insecure=yes] http://x.invalid/ y main", True),
    ("Types: deb\nTrusted: yes", True),
    ("# deb [trusted=yes] http://x.invalid/ ./", False),
    ("deb [signed-by=/usr/share/keyrings/x.gpg] http://x.invalid/ y main", False),
    ("deb http://x.invalid/trusted=yes y main", False),
]


@pytest.mark.parametrize(("text", "bad"), SOURCES)
def test_sources_that_nobody_signs(text: str, bad: bool) -> None:
    assert any(settings_host.TRUSTED.match(line) for line in text.splitlines()) is bad


SHADOW = "root:*:1:0:99999:7:::\nalice:$y$j9T$zzSecretOfAHashzz:1:0:99999:7:::\n"


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in the place of /etc/ssh, beside a file of secrets."""
    (tmp_path / "ssh/sshd_config.d").mkdir(parents=True)
    (tmp_path / "shadow").write_text(SHADOW)
    monkeypatch.setattr(settings_host, "SSH", str(tmp_path / "ssh"))
    return tmp_path / "ssh"


@pytest.mark.parametrize(
    "name", ["../shadow", "ssh_host_ed25519_key", "sshd_config.d/../../shadow", "a.conf", "b/c.conf"]
)
def test_only_files_of_sshd_are_given_to_sshd(ssh: Path, name: str) -> None:
    (ssh / "ssh_host_ed25519_key").write_text("zzSecretOfAHashzz\n")
    (ssh / "a.conf").symlink_to("../shadow")
    (ssh / "b").symlink_to(ssh.parent)
    (ssh.parent / "c.conf").write_text("Port 22\n")
    with pytest.raises(settings_host.Unanswered, match="no file of sshd's settings"):
        settings_host.config_of_sshd(f"{ssh}/{name}")


def test_a_file_of_sshd_that_is_not_roots_is_not_given_to_it(ssh: Path) -> None:
    (ssh / "sshd_config").write_text("Port 22\n")
    if os.geteuid() == 0:
        assert settings_host.config_of_sshd(f"{ssh}/sshd_config") == f"{ssh}/sshd_config"
        os.chown(ssh / "sshd_config", 1, 1)
    with pytest.raises(settings_host.Unanswered, match="no file of root's"):
        settings_host.config_of_sshd(f"{ssh}/sshd_config")
    with pytest.raises(settings_host.Unanswered, match="No such file"):
        settings_host.config_of_sshd(f"{ssh}/sshd_config.d/none.conf")


@pytest.mark.service
@pytest.mark.parametrize("text", [SHADOW, "zzSecretOfAHashzz yes\n", "LogLevel zzSecretOfAHashzz\n"])
def test_what_sshd_says_is_told_without_the_words_of_the_file(tmp_path: Path, text: str) -> None:
    if not Path("/usr/sbin/sshd").exists():
        pytest.skip("needs openssh-server")
    (tmp_path / "sshd_config").write_text(text)
    said = settings_host.run("/usr/sbin/sshd", "-T", "-f", str(tmp_path / "sshd_config"))[2]
    assert "zzSecretOfAHashzz" in said
    told = settings_host.said_by_sshd(said)
    assert "zzSecret" not in told
    assert "sshd_config line " in told


def test_the_sort_of_a_mistake_is_told() -> None:
    said = "/etc/ssh/sshd_config.d/1.conf: line 7: Bad configuration option: NoSuchWord\r\nfile: terminating\n"
    assert settings_host.said_by_sshd(said) == "; /etc/ssh/sshd_config.d/1.conf line 7: Bad configuration option"
    assert settings_host.said_by_sshd("sshd: no hostkeys available -- exiting.") == "; no hostkeys available"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/ssh/../shadow",
        "/etc/ssh/ssh_host_rsa_key",
        "/etc/sshd_config",
        "/etc/ssh/a/../b.conf",
        "/etc/ssh/",
    ],
)
def test_what_is_no_file_of_sshd_is_no_parameter(path: str) -> None:
    with pytest.raises(ValidationError, match="below /etc/ssh"):
        SecurityScanParams(sshd_config=path)


def test_files_of_sshd_are_parameters() -> None:
    for path in ("/etc/ssh/sshd_config", "/etc/ssh/sshd_config_sftp", "/etc/ssh/sshd_config.d/10-a.conf"):
        assert SecurityScanParams(sshd_config=path).sshd_config == path


def test_a_part_that_cannot_be_asked_costs_no_other() -> None:
    """As an ordinary user without sshd: the answer is whole, and each part that is missing says why."""
    given = {"keys": ["kernel.ostype", "no.such"], "packages": [], "sshd": [], "sshd_config": "/nowhere",
             "sudoers": "/nowhere/sudoers"}  # fmt: skip
    argv = [sys.executable, "-I", "-c", program("settings_host"), json.dumps(given)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["kernel"] == {"kernel.ostype": "Linux", "no.such": None}
    assert found["sudo"] == {"absent": "there is no /nowhere/sudoers"}
    assert set(found["sshd"]) in ({"unknown"}, {"absent"})
    assert len(found) == len(settings_host.PARTS)
