"""A host to be scanned: a root of its own on a tmpfs, in name spaces of its own, with weaknesses that can be mended."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from place import PROJECT, Place, until

from opsqueue.embedded.redis import running
from opsqueue.operations.security.rules_host import KERNEL_KEYS

DAY = 86400
NAME = "web-server-1"
NOBODYS = 54321
MAKE = r"""
set -e
root=$1; shift
mount --make-rprivate /
mount -t tmpfs -o size=256m,mode=755 scanned "$root"
for one in etc proc dev sys run tmp var opt srv home root usr boot; do mkdir -p "$root/$one"; done
chmod 1777 "$root/tmp"; chmod 700 "$root/root"
for one in bin sbin lib lib64; do ln -s "usr/$one" "$root/$one"; done
for one in /usr /proc /dev /sys "$@"; do mkdir -p "$root$one"; mount --rbind "$one" "$root$one"; done
ip link set lo up 2>/dev/null || true
echo ready
exec chroot "$root" /bin/sleep 3000
"""
DROP_IN = "/etc/ssh/sshd_config.d/10-first.conf"
OUTSIDE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5zZmFrZWtleWZha2VrZXlmYWtla2V5ZmFrZWtl somebody@elsewhere\n"


@dataclass(frozen=True)
class Weakness:
    """One planted weakness: which finding tells of it, how it is made, and how it is mended."""

    code: str
    subject: str
    plant: Callable[[Scanned], None]
    mend: Callable[[Scanned], None]


class Scanned:
    """A host, made sound; `inside` is its root as seen from here."""

    def __init__(self) -> None:
        self.place = Place(schedule=dict.fromkeys(("system-monitoring", "health-check"), False))
        self.secret = secrets.token_urlsafe(24)
        """Stands in password hashes and keys, and nowhere else."""
        root = self.place.directory / "root"
        root.mkdir()
        mounts = dict.fromkeys(map(str, (PROJECT, sys.prefix, sys.base_prefix, self.place.directory)))
        wanted = [one for one in mounts if not one.startswith("/usr")]
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", MAKE, "make", str(root), *wanted],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.holder.stdout.readline() == "ready\n"
        link = Path(f"/proc/{self.holder.pid}")
        until(lambda: (link / "comm").read_text() == "sleep\n", 30, "the host")
        self.inside = link / "root"
        spaces = (f"--mount={link}/ns/mnt", f"--net={link}/ns/net", f"--root={link}/root", "--wd=/")
        self.place.prefix = ("nsenter", *spaces)
        self.excluded = [*wanted, "/usr", "/proc", "/sys", "/dev", "/run"]
        self.server: subprocess.Popen[bytes] | None = None
        self._make()
        system = self.place.start("opsqueue", "up", "--no-flower")
        until(lambda: running(self.place.state / "redis"), 60, lambda: f"the system: {self.place.said(system)}")

    def end(self) -> None:
        """End everything here."""
        self.deaf()
        self.place.end()
        self.holder.kill()
        self.holder.wait(30)
        self.holder.stdout.close()

    # -- files

    def at(self, path: str) -> Path:
        return self.inside / path.lstrip("/")

    def write(self, path: str, text: str = "", mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        where = self.at(path)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)
        os.chown(where, *owner)
        where.chmod(mode)

    def folder(self, path: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> None:
        self.at(path).mkdir(parents=True, exist_ok=True)
        os.chown(self.at(path), *owner)
        self.at(path).chmod(mode)

    def remove(self, path: str) -> None:
        self.at(path).unlink()

    def swap(self, path: str, old: str, new: str) -> None:
        text = self.at(path).read_text()
        assert old in text, f"{path} does not hold {old!r}"
        self.at(path).write_text(text.replace(old, new))

    def everything(self) -> dict[str, tuple[Any, ...]]:
        """All that a scan must leave as it is: every file of the host, and the settings of the kernel."""
        found: dict[str, tuple[Any, ...]] = {}
        for directory, below, names in os.walk(self.inside):
            inner = directory.removeprefix(str(self.inside)) or "/"
            below[:] = [name for name in below if f"{inner.rstrip('/')}/{name}" not in [*self.excluded, "/tmp"]]
            for path in (Path(directory, name) for name in [*below, *names]):
                status = path.lstat()
                found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns)
        said = self.place.sh(f"cd /proc/sys && grep -s . {' '.join(key.replace('.', '/') for key in KERNEL_KEYS)}")
        assert "accept_source_route" in said.out
        return {**found, "kernel": (said.out,)}

    # -- the sound host

    def _make(self) -> None:
        self.write("/etc/os-release", 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
        self.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\n")
        self.write("/etc/passwd", _PASSWD)
        self.write("/etc/group", _GROUP)
        self.write("/etc/shadow", f"root:*:19000::365:7:::\nann:$y$j9T${self.secret}$x:19000:0:365:7:::\n", 0o640)
        self.write("/etc/login.defs", "ENCRYPT_METHOD YESCRYPT\nPASS_MAX_DAYS 365\nPASS_WARN_AGE 7\nUMASK 027\n")
        for name in ("/etc/alternatives", "/etc/lynis"):
            shutil.copytree(name, self.at(name), symlinks=True)
        self.folder("/home/ann", 0o750, (1000, 1000))
        self.folder("/var/www", 0o755)
        self.folder("/run/sshd")
        self.folder("/etc/cron.d", 0o700)
        self.write(
            "/etc/ssh/sshd_config", f"Include {DROP_IN}\nPermitRootLogin no\nPermitEmptyPasswords no\n# end\n", 0o600
        )
        self.write(DROP_IN, "PasswordAuthentication no\n", 0o600)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.at("/etc/ssh/ssh_host_ed25519_key"))],
            check=True,
        )
        self.write("/etc/sudoers", "Defaults use_pty\nroot ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n", 0o440)
        self.folder("/etc/sudoers.d", 0o750)
        self.write("/etc/apt/sources.list", _SOURCES)
        self._packages()
        self._advisories()

    def _packages(self) -> None:
        arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
        self.arch = arch.stdout.strip()
        self.write("/var/lib/dpkg/info/sound.list", "/.\n/opt\n/opt/sound\n")
        self.folder("/var/lib/apt/lists/partial")
        self.folder("/var/cache/apt/archives/partial")
        self.installed = {"sound": "1.0-1", "leaky": "1:1.0-2", "holey": "2.0-2", "behind": "3.0-3"}
        self.status()
        now = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())
        self.archive("bookworm-security", "Debian-Security", {"holey": "2.0-2", "behind": "3.0-2"}, now)
        self.archive("bookworm-updates", "Debian", {"behind": "3.0-3"}, now)

    def archive(self, suite: str, label: str, packages: dict[str, str], now: str) -> None:
        """The list of an archive of apt, with these versions of packages."""
        base = f"/var/lib/apt/lists/security.invalid_debian-security_dists_{suite}"
        head = f"Origin: Debian\nLabel: {label}\nSuite: {suite}\nVersion: 12\nCodename: {suite}\n"
        self.write(f"{base}_InRelease", f"{head}Date: {now}\nArchitectures: {self.arch}\nComponents: main\n")
        texts = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {self.arch}\nMaintainer: x <x@invalid>\nSize: 1\n"
            f"Filename: pool/{name}_{version}.deb\nSHA256: {'0' * 64}\nDescription: x\n\n"
            for name, version in packages.items()
        )
        self.write(f"{base}_main_binary-{self.arch}_Packages", "".join(texts))

    def status(self, **versions: str) -> None:
        """Write the package database, with these versions."""
        self.installed.update(versions)
        blocks = [
            f"Package: {name}\nStatus: {'hold' if name == 'holey' else 'install'} ok installed\n"
            f"Maintainer: x <x@invalid>\nArchitecture: {self.arch}\n"
            f"Version: {version}\nDescription: x\n"
            for name, version in self.installed.items() if version
        ]  # fmt: skip
        self.write("/var/lib/dpkg/status", "\n".join(blocks) + "\n")

    def _advisories(self) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - DAY))
        text = io.BytesIO()
        with zipfile.ZipFile(text, "w") as packed:
            for one in (_DEBIAN, _PYPI, {**_DEBIAN, "id": "DEBIAN-CVE-2030-9999", "withdrawn": stamp}):
                packed.writestr(f"{one['id']}.json", json.dumps({**one, "modified": stamp}))
        self.write("/var/lib/advisories/all.zip")
        self.at("/var/lib/advisories/all.zip").write_bytes(text.getvalue())
        self.python("1.1")

    def python(self, version: str) -> None:
        """Install a Python package in this version, below /opt."""
        base = "/opt/app/lib/python3.11/site-packages"
        for old in self.at(base).glob("*/METADATA"):
            old.unlink()
        self.write(f"{base}/leaky_lib-{version}.dist-info/METADATA", f"Name: leaky.lib\nVersion: {version}\n\n")

    # -- who listens

    def listens(self) -> None:
        """Something answers on the port of Redis, on all addresses."""
        text = "import socket, sys\nwith socket.create_server(('0.0.0.0', 6379)):\n"
        text += "  print('up', flush=True)\n  sys.stdin.read()"
        self.server = subprocess.Popen(
            [*self.place.prefix, sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.server.stdout.readline() == b"up\n"

    def deaf(self) -> None:
        """It answers no more."""
        if self.server:
            self.server.communicate(timeout=30)
            self.server = None

    # -- the scan

    def scan(self, *more: str, **parameters: Any) -> dict[str, Any]:
        """Scan it with the real command."""
        asked = {
            "checks": ["vulnerabilities", "configuration", "permissions"],
            "advisories": ["/var/lib/advisories"],
            "exclude_paths": self.excluded,
            **parameters,
        }
        words = ("--name", "scan", "--type", "security_scan", "--systems", NAME, "--parameters", json.dumps(asked))
        done = self.place.ops("execute", *words, "--wait", "--output", "json", *more, timeout=300)
        assert (done.code, done.json["status"]) == (0, "succeeded"), (done.err, done.json["targets"])
        return done.json


_SOURCES = """\
deb http://security.invalid/debian-security bookworm-security main
deb http://security.invalid/debian-security bookworm-updates main
"""
_PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
sshd:x:105:65534::/run/sshd:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
ann:x:1000:1000:Ann:/home/ann:/bin/bash
"""
_GROUP = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nshadow:x:42:\nann:x:1000:\nnogroup:x:65534:\n"
_DEBIAN = {
    "id": "DEBIAN-CVE-2030-0001",
    "upstream": ["CVE-2030-0001"],
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
    "affected": [
        {
            "package": {"ecosystem": "Debian:12", "name": "leaky"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1:1.0-2"}]}],
        }
    ],
}
_PYPI = {
    "id": "PYSEC-2030-1",
    "aliases": ["CVE-2030-0002", "GHSA-aaaa-bbbb-cccc"],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "leaky-lib"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0.5"}, {"last_affected": "1.0"}]}],
        }
    ],
}


# -- what is planted ----------------------------------------------------------------------------------------


def _sysctl(host: Scanned, value: str) -> None:
    for which in ("all", "default"):
        done = host.place.sh(f"echo {value} >/proc/sys/net/ipv4/conf/{which}/accept_source_route")
        assert done.code == 0, done.err


def _account(line: str, shadow: str = "") -> tuple[Callable[[Scanned], None], Callable[[Scanned], None]]:
    def plant(host: Scanned) -> None:
        host.at("/etc/passwd").write_text(host.at("/etc/passwd").read_text() + line)
        host.at("/etc/shadow").write_text(host.at("/etc/shadow").read_text() + shadow.format(host.secret))

    def mend(host: Scanned) -> None:
        host.swap("/etc/passwd", line, "")
        host.swap("/etc/shadow", shadow.format(host.secret), "")

    return plant, mend


def _file(path: str, text: str = "x\n", mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> tuple[Any, Any]:
    def plant(host: Scanned) -> None:
        host.write(path, text.format(host.secret), mode, owner)

    return plant, lambda host: host.remove(path)


def _mode(path: str, bad: int, good: int) -> tuple[Any, Any]:
    return (lambda host: host.at(path).chmod(bad), lambda host: host.at(path).chmod(good))


def _version(name: str, bad: str, good: str) -> tuple[Any, Any]:
    return (lambda host: host.status(**{name: bad}), lambda host: host.status(**{name: good}))


def _capability(host: Scanned) -> None:
    host.write("/opt/powers", "x\n", 0o755)
    # cap_net_raw, permitted and effective, as setcap(8) writes it (revision 2)
    os.setxattr(host.at("/opt/powers"), "security.capability", base64.b64decode("AQAAAgAgAAAAAAAAAAAAAAAAAAA="))


def _share(host: Scanned) -> None:
    host.folder("/srv/share", 0o777)


def _key() -> str:
    return "-----BEGIN PRIVATE KEY-----\n{0}\n-----END PRIVATE KEY-----\n"


def _mail(host: Scanned) -> None:
    with suppress(FileExistsError):
        host.folder("/var/www/.ssh", 0o700, (33, 33))
    host.write("/var/www/.ssh/authorized_keys", OUTSIDE, 0o600, (33, 33))


_SWAPPED: dict[str, tuple[str, str, str]] = {
    # The whole file says no; a block at its end says otherwise for one account.
    "ssh_root_login": ("/etc/ssh/sshd_config", "# end\n", "# end\nMatch User root\n  PermitRootLogin yes\n"),
    # The first value wins: the main file goes on saying no.
    "ssh_empty_passwords": (
        DROP_IN,
        "PasswordAuthentication no",
        "PasswordAuthentication no\nPermitEmptyPasswords yes",
    ),
    "ssh_rhosts": ("/etc/ssh/sshd_config", "PermitEmptyPasswords no", "PermitEmptyPasswords no\nIgnoreRhosts no"),
    "sudo_no_authentication": ("/etc/sudoers", "Defaults use_pty", "Defaults use_pty, !authenticate"),
    "shadow_group_member": ("/etc/group", "shadow:x:42:", "shadow:x:42:ann"),
}


def _swapped(code: str, subject: str) -> Weakness:
    path, good, bad = _SWAPPED[code]
    return Weakness(code, subject, lambda host: host.swap(path, good, bad), lambda host: host.swap(path, bad, good))


WEAKNESSES = (
    Weakness("vulnerable_package", "Debian:12/leaky CVE-2030-0001", *_version("leaky", "1:1.0~rc1-1", "1:1.0-2")),
    Weakness(
        "vulnerable_package",
        "PyPI/leaky-lib CVE-2030-0002 in /opt/app/lib/python3.11/site-packages",
        lambda host: host.python("1.0"),
        lambda host: host.python("1.1"),
    ),
    Weakness("security_update_pending", "holey", *_version("holey", "2.0-1", "2.0-2")),
    Weakness("security_update_pending", "behind", *_version("behind", "3.0-1", "3.0-3")),
    Weakness("package_insecure", "telnetd", *_version("telnetd", "0.17-44", "")),
    _swapped("ssh_root_login", "PermitRootLogin"),
    _swapped("ssh_empty_passwords", "PermitEmptyPasswords"),
    _swapped("ssh_rhosts", "IgnoreRhosts"),
    Weakness("sudo_nopasswd_all", "ann", *_file("/etc/sudoers.d/ann", "ann ALL=(ALL) NOPASSWD: ALL\n", 0o440)),
    Weakness("sudo_file_writable", "/etc/sudoers.d/open", *_file("/etc/sudoers.d/open", "# nothing\n", 0o666)),
    _swapped("sudo_no_authentication", "!authenticate"),
    Weakness("uid_zero", "toor", *_account("toor:x:0:0::/root:/bin/bash\n", "toor:*:19000:0:365:7:::\n")),
    Weakness("password_empty", "guest", *_account("guest:x:1001:1000::/srv:/bin/bash\n", "guest::19000:0:365:7:::\n")),
    Weakness(
        "password_weak_hash", "old",
        *_account("old:x:1002:1000::/srv:/bin/false\n", "old:$1$ab${}:19000:0:365:7:::\n"),
    ),
    _swapped("shadow_group_member", "ann"),
    Weakness("suid_foreign", "/opt/tool", *_file("/opt/tool", mode=0o4755)),
    Weakness("suid_shell", "/opt/bash", *_file("/opt/bash", mode=0o4755)),
    Weakness("file_capability", "/opt/powers", _capability, lambda host: host.remove("/opt/powers")),
    Weakness("world_writable", "/etc/cron.d/job", *_file("/etc/cron.d/job", "# nothing\n", 0o666)),
    Weakness("no_sticky", "/srv/share", _share, lambda host: host.at("/srv/share").chmod(0o755)),
    Weakness("unowned", "/srv/left", *_file("/srv/left", owner=(NOBODYS, NOBODYS))),
    Weakness("private_key_readable", "/srv/site.key", *_file("/srv/site.key", _key(), 0o644)),
    Weakness(
        "authorized_keys_loose", "/home/ann/.ssh/authorized_keys",
        *_file("/home/ann/.ssh/authorized_keys", OUTSIDE, 0o666, (1000, 1000)),
    ),
    Weakness("authorized_keys_system", "/var/www/.ssh/authorized_keys", _mail,
             lambda host: host.remove("/var/www/.ssh/authorized_keys")),
    Weakness("home_file_open", "/home/ann/.rhosts", *_file("/home/ann/.rhosts", "+ +\n", 0o600, (1000, 1000))),
    Weakness("file_open", "/etc/shadow", *_mode("/etc/shadow", 0o644, 0o640)),
    Weakness("source_route", "net.ipv4.conf.all.accept_source_route", lambda host: _sysctl(host, "1"),
             lambda host: _sysctl(host, "0")),
    Weakness("listening_everywhere", "tcp/6379", Scanned.listens, Scanned.deaf),
    Weakness("updates_unsigned", "/etc/apt/sources.list.d/odd.list",
             *_file("/etc/apt/sources.list.d/odd.list", "deb [trusted=yes] http://odd.invalid/ ./\n")),
)  # fmt: skip
