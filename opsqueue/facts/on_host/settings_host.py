"""Sent to a host as text: reads its settings for `security_scan`, as they are in effect.

It only reads. Password hashes are told apart here, and never leave the host: what is said of an account is its name
and the kind of its hash. A part that cannot be answered says why, and costs no other part. It is longer than other
modules because what runs on a host has to be one text.
"""

from __future__ import annotations

import glob
import json
import os
import re
import resource
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

SECONDS = 20
MOST_MEMORY = 512 << 20
"""Bytes of memory that this program may ask for."""
SHORT = {"$1$": "MD5", "$md5": "MD5", "$3$": "NT", "_": "DES"}
KINDS = {"$y$": "yescrypt", "$gy$": "yescrypt", "$7$": "scrypt", "$6$": "SHA-512", "$5$": "SHA-256", "$2": "bcrypt"}
OLD_DES = 13
"""Characters of a hash that has no word for its kind."""
NO_LOGIN = ("nologin", "false", "sync", "halt", "shutdown", "")
SOON = 365
"""Days after which a password has to be changed at the latest."""
PEOPLE = 1000
"""The lowest uid of people."""
DEEP = 5
PASSWD, GROUP = 6, 3
"""Colons in a line of these files."""
LISTEN = "0A"
UNCONNECTED = "07"
MOST_SOCKETS = 500
PAUSE = 3.0
"""Seconds after which a UDP socket that waited for one answer is gone."""
FREE = re.compile(r"\bNOPASSWD\s*:")
INCLUDE = re.compile(r"^[@#]include(dir)?\s+(.+)$")
MOST_FILES = 200
SSH = "/etc/ssh"
SSHD_CONFIG = re.compile(
    r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/(?:sshd_config[A-Za-z0-9._-]*|[A-Za-z0-9_-][A-Za-z0-9._-]*\.conf)"
)
"""What a file of sshd's settings is called, below that directory: keys lie there too."""
SAID_BY_SSHD = (
    "Bad configuration option", "no argument after keyword", "missing argument", "unsupported option", "bad value",
    "extra arguments", "is not allowed within a Match block", "no hostkeys available", "Permission denied",
    "No such file or directory", "Missing privilege separation directory", "bad configuration options",
)  # fmt: skip
"""Words of sshd itself that may be told; the rest of what it says may be those of the file."""
MOST_SAID = 3

Entry = dict[str, Any]


class Unanswered(Exception):
    """This part cannot be answered, and why."""


class Absent(Exception):
    """What this part is about is not on the host."""


def run(*argv: str) -> tuple[int, str, str]:
    """A program to its end; Unanswered when it takes too long."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    except FileNotFoundError:
        raise Absent(f"{argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Unanswered(f"{argv[0]} did not end within {SECONDS} s") from None
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def lines(path: str) -> list[str]:
    """The lines of a file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


# -- the system ---------------------------------------------------------------------------------------------


def system(_given: Entry) -> Entry:
    """Which system it is."""
    words = dict(line.split("=", 1) for line in lines("/etc/os-release") if "=" in line)
    return {
        "id": words.get("ID", "").strip("\"'"),
        "version": words.get("VERSION_ID", "").strip("\"'"),
        "name": words.get("PRETTY_NAME", "").strip("\"'"),
        "kernel": os.uname().release,
        "root": os.geteuid() == 0,
    }


def kernel(given: Entry) -> Entry:
    """Values of the kernel by name; None where it has none of that name."""
    found: Entry = {}
    for key in given["keys"]:
        path = "/proc/sys/" + key.replace(".", "/")
        try:
            found[key] = " ".join(open(path, encoding="ascii").read().split())  # noqa: SIM115 - closed at once
        except FileNotFoundError:
            found[key] = None
        except OSError as error:
            found[key] = {"unknown": str(error)}
    return found


def mounts(_given: Entry) -> Entry:
    """The options of each mount."""
    found = {}
    for line in lines("/proc/self/mounts"):
        words = line.split()
        found[words[1]] = sorted(words[3].split(","))
    return found


def updates(_given: Entry) -> Entry:
    """Whether security updates come by themselves, whether a reboot is due, and sources that nobody signs."""
    code, out, _ = run("apt-config", "dump")
    if code:
        raise Unanswered(f"apt-config ended with {code}")
    settings = dict(re.findall(r'^(\S+) "(.*)";$', out, re.MULTILINE))
    return {
        "lists": settings.get("APT::Periodic::Update-Package-Lists", "0"),
        "unattended": settings.get("APT::Periodic::Unattended-Upgrade", "0"),
        "installed": os.path.exists("/usr/bin/unattended-upgrade"),
        "unauthenticated": settings.get("APT::Get::AllowUnauthenticated", "false").lower() in ("1", "true", "yes"),
        "untrusted": sorted(untrusted()),
    }


TRUSTED = re.compile(
    r"^\s*deb(-src)?\s+\[[^]]*\b(trusted|allow-insecure)=yes\b|^\s*(trusted|allow-insecure)\s*:\s*yes\b", re.IGNORECASE
)


def untrusted() -> Iterator[str]:
    """Files of sources that are believed without a signature."""
    for path in ["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*")]:
        with suppress(OSError):
            if any(TRUSTED.match(line) for line in lines(path)):
                yield path


def reboot(_given: Entry) -> Entry:
    """Whether the host waits for being started anew."""
    marked = [path for path in ("/run/reboot-required", "/var/run/reboot-required") if os.path.exists(path)]
    packages: list[str] = []
    with suppress(OSError):
        packages = sorted(set(lines("/run/reboot-required.pkgs")))
    images = sorted(glob.glob("/boot/vmlinuz-*"), key=os.path.getmtime)
    newest = images[-1].partition("vmlinuz-")[2] if images else ""
    since = next(int(line.split()[1]) for line in lines("/proc/stat") if line.startswith("btime "))
    newer = bool(images) and newest != os.uname().release and os.path.getmtime(images[-1]) > since
    return {"marked": bool(marked), "packages": packages[:50], "kernel": newest if newer else ""}


def packages(given: Entry) -> Entry:
    """Which of the named packages are installed."""
    asked, found, name = set(given["packages"]), [], ""
    try:
        status = lines("/var/lib/dpkg/status")
    except FileNotFoundError:
        raise Unanswered("there is no package database of dpkg") from None
    for line in status:
        if line.startswith("Package: "):
            name = line[9:]
        elif line.startswith("Status: ") and line.endswith(" installed") and name in asked:
            found.append(name)
    return {"installed": sorted(set(found))}


# -- sshd, sudo ---------------------------------------------------------------------------------------------


def sshd(given: Entry) -> Entry:
    """What sshd does for root and for somebody else who comes from outside: the effective settings, not a file."""
    program = next((one for one in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if os.path.exists(one)), "")
    if not program:
        raise Absent("sshd is not installed")
    found: Entry = {}
    config = config_of_sshd(given["sshd_config"])
    for who in ("root", "nobody"):
        asked = f"user={who},host=outside.invalid,addr=203.0.113.1,laddr=203.0.113.2,lport=22"
        code, out, err = run(program, "-T", "-C", asked, "-f", config)
        if code:
            raise Unanswered(f"sshd -T ended with {code}{said_by_sshd(err)}")
        found[who] = settings_of(out, set(given["sshd"]))
    return found


def config_of_sshd(path: str) -> str:
    """Where the file really lies; Unanswered unless that is a file of sshd's own, and root's.

    Whatever else root can read would be read too, and sshd quotes what it does not understand.
    """
    real = os.path.realpath(path)
    try:
        about = os.stat(real)
    except OSError as error:
        raise Unanswered(f"{path} cannot be looked at: {error.strerror}") from None
    if not SSHD_CONFIG.fullmatch(real[len(SSH) :]) or not real.startswith(SSH):
        raise Unanswered(f"{path} is no file of sshd's settings below {SSH}")
    if about.st_uid or not stat.S_ISREG(about.st_mode):
        raise Unanswered(f"{path} is no file of root's")
    return real


def said_by_sshd(text: str) -> str:
    """Where and what sort of mistake it is, without the words of the file."""
    told = []
    for line in text.strip().splitlines()[-MOST_SAID:]:
        place = re.match(r"(/[A-Za-z0-9@%+=,._/-]{1,300}):? line (\d{1,9})\b", line)
        sort = next((words for words in SAID_BY_SSHD if words.lower() in line.lower()), "")
        told += [f"{place[1]} line {place[2]}: {sort or 'it is not understood'}"] if place else [sort] if sort else []
    return "".join(f"; {one}" for one in dict.fromkeys(told))


def settings_of(text: str, wanted: set[str]) -> Entry:
    """The wanted settings by name; those that stand there more than once are joined."""
    found: Entry = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name.lower() in wanted:
            found[name.lower()] = value if name.lower() not in found else found[name.lower()] + " " + value
    return found


def sudo(given: Entry) -> Entry:
    """Who may do what without a password, and whether the files are sound."""
    top = given["sudoers"]
    if not os.path.exists(top):
        raise Absent(f"there is no {top}")
    files = list(sudo_files(top, 0))
    if len(files) >= MOST_FILES:
        raise Unanswered(f"the files of sudo include each other more than {MOST_FILES} times")
    valid = None
    with suppress(Absent):
        valid = run("visudo", "-c", "-q", "-f", top)[0] == 0
    everything = everything_of(files)
    rules = [rule for path in files for rule in sudo_rules(path, everything)]
    loose = [path for path in files if os.stat(path).st_mode & 0o022 or os.stat(path).st_uid]
    return {
        "valid": valid,
        "loose": sorted(set(loose)),
        "nopasswd": [rule for rule in rules if rule["kind"] == "nopasswd"],
        "defaults": sorted({rule["text"] for rule in rules if rule["kind"] == "defaults"}),
    }


def sudo_files(path: str, depth: int) -> Iterator[str]:
    """A file and all that it includes."""
    yield path
    for line in joined(path) if depth < DEEP else ():
        found = INCLUDE.match(line.strip())
        if not found:
            continue
        name = os.path.join(os.path.dirname(path), found.group(2).strip('"'))
        if not found.group(1):
            if os.path.exists(name):
                yield from sudo_files(name, depth + 1)
            continue
        for one in sorted(glob.glob(os.path.join(glob.escape(name), "*"))):
            base = os.path.basename(one)
            if os.path.isfile(one) and "." not in base and not base.endswith("~"):
                yield from sudo_files(one, depth + 1)


def joined(path: str) -> list[str]:
    """The lines of a file; those that end with a backslash go on."""
    return "\n".join(lines(path)).replace("\\\n", " ").splitlines()


ALIAS = re.compile(r"(?:^\s*Cmnd_Alias\s+|:\s*)(\w+)\s*=\s*([^:]*)")


def everything_of(files: list[str]) -> set[str]:
    """The names of commands (Cmnd_Alias) that stand for every program."""
    every = [line.partition("#")[0] for path in files for line in joined(path)]
    pairs = [pair for line in every for pair in ALIAS.findall(line)]
    return {name for name, members in pairs if "ALL" in re.split(r"[\s,]+", members)}


def sudo_rules(path: str, everything: set[str]) -> Iterator[Entry]:
    """What the lines of one file say about passwords; of commands only the names of the programs."""
    for line in joined(path):
        text = re.sub(r"(^|\s)#(?!\d).*", "", line).strip()
        if text.startswith("Defaults"):
            yield from defaults(text)
        elif FREE.search(text) and "=" in text and not re.match(r"^\w+_Alias\b", text):
            yield {**free_of(text, everything), "kind": "nopasswd", "file": path}


def defaults(text: str) -> Iterator[Entry]:
    """The defaults that matter; `Defaults:ann !authenticate` is about ann, and not about everybody."""
    head, _, rest = text.partition(" ")
    for word in re.split(r"\s*,\s*", rest.strip()):
        if re.match(r"^(!?authenticate|!?use_pty|logfile|timestamp_timeout)\b", word):
            kept = "logfile" if word.startswith("logfile") else word.replace(" ", "")
            yield {"kind": "defaults", "text": (head[len("Defaults") :] + " " + kept).strip()}


def free_of(text: str, everything: set[str]) -> Entry:
    """Who may run what without a password, by one line."""
    free = re.split(r"(?<!\w)PASSWD\s*:", FREE.split(text, maxsplit=1)[1])[0]
    words = [re.sub(r"^([A-Z_]+\s*:\s*)+", "", word.strip()) for word in free.split(",") if word.strip()]
    programs = sorted({word.split()[0] for word in words if word})
    whole = bool({"ALL", *everything} & set(programs))
    return {"who": text.partition("=")[0].split()[0], "all": whole, "programs": programs[:100]}


# -- accounts -----------------------------------------------------------------------------------------------


def members(name: str, users: list[list[str]], groups: list[list[str]]) -> set[str]:
    """Who is in a group: named there, or with it as the first group of the account."""
    those = [group for group in groups if group[0] == name]
    gids = {group[2] for group in those}
    named = {user for group in those for user in group[3].split(",") if user}
    return named | {user[0] for user in users if user[3] in gids}


def accounts(_given: Entry) -> Entry:
    """What is odd about the accounts, as /etc/passwd and /etc/group have them."""
    users = [line.split(":") for line in lines("/etc/passwd") if line.count(":") >= PASSWD]
    groups = [line.split(":") for line in lines("/etc/group") if line.count(":") >= GROUP]
    gids = {group[2] for group in groups}
    shells = {user[0]: os.path.basename(user[6]) for user in users}
    return {
        "uid_zero": sorted(user[0] for user in users if user[2].isdigit() and int(user[2]) == 0),
        "gid_zero": sorted(user[0] for user in users if user[3] == "0"),
        "groups_zero": sorted(group[0] for group in groups if group[2] == "0"),
        "same_uid": twice([user[2] for user in users]),
        "same_gid": twice([group[2] for group in groups]),
        "same_name": twice([user[0] for user in users]),
        "same_group": twice([group[0] for group in groups]),
        "unshadowed": sorted(user[0] for user in users if user[1] not in ("x", "*", "!", "")),
        "no_group": sorted(user[0] for user in users if user[3] not in gids),
        "shadow_members": sorted(members("shadow", users, groups)),
        "system_shells": sorted(
            user[0]
            for user in users
            if user[2].isdigit() and 0 < int(user[2]) < PEOPLE and shells[user[0]] not in NO_LOGIN
        ),
        "nis": any(line.startswith(("+", "-")) for line in lines("/etc/passwd")),
    }


def twice(values: list[str]) -> list[str]:
    """Those that stand there more than once."""
    return sorted({value for value in values if values.count(value) > 1})


def passwords(_given: Entry) -> Entry:
    """The kind of each account's password; what the hash is stays here."""
    kinds: dict[str, list[str]] = {}
    endless = []
    for line in lines("/etc/shadow"):
        name, _, rest = line.partition(":")
        hashed, *days = rest.split(":")
        kind = hash_kind(hashed)
        kinds.setdefault(kind, []).append(name)
        longest = "".join(days[2:3])  # after the day of the last change, and the shortest time
        if kind not in ("locked", "empty") and (not longest or int(longest) > SOON):
            endless.append(name)
    # An empty field in /etc/passwd is a login without a password, whatever /etc/shadow says.
    for line in lines("/etc/passwd"):
        name, colon, rest = line.partition(":")
        if colon and rest.startswith(":") and not line.startswith(("+", "-")):
            kinds.setdefault("empty", []).append(name)
    return {"kinds": {kind: sorted(set(names)) for kind, names in sorted(kinds.items())}, "endless": sorted(endless)}


def hash_kind(field: str) -> str:
    """What kind of password a field of /etc/shadow holds."""
    if field == "":
        return "empty"
    if field[0] in "!*":
        return "locked"
    for prefix, kind in (*KINDS.items(), *SHORT.items()):
        if field.startswith(prefix):
            return kind
    return "DES" if len(field) == OLD_DES else "other"


def logins(_given: Entry) -> Entry:
    """What /etc/login.defs and PAM say of passwords that are set from now on."""
    words = [line.split() for line in lines("/etc/login.defs") if line.strip() and not line.lstrip().startswith("#")]
    found = {word[0]: word[1] for word in words if len(word) > 1}
    nullok = []
    for path in sorted(glob.glob("/etc/pam.d/common-*")):
        with suppress(OSError):
            if takes_empty(lines(path)):
                nullok.append(path)
    kept = ("ENCRYPT_METHOD", "PASS_MAX_DAYS", "PASS_WARN_AGE", "UMASK")
    return {"defs": {name: found.get(name) for name in kept}, "nullok": nullok}


def takes_empty(words: list[str]) -> bool:
    """Whether a file of PAM lets accounts in that have no password; from `#` on a line is no more than words."""
    text = "\n".join(words).replace("\\\n", " ")
    said = (line.partition("#")[0] for line in text.splitlines())
    return any(re.search(r"\bpam_unix\.so\b.*\bnullok\b", line) for line in said)


# -- the network --------------------------------------------------------------------------------------------


def listening(_given: Entry) -> Entry:
    """Who listens on an address that others can reach; without root the programs are not known."""
    ports = given_out()
    first = all_sockets()
    own = {holder for one in first if not is_source(one, ports) for holder in one["holders"]}
    outside = [one for one in first if not one["inside"]]
    sources = [one for one in outside if is_source(one, ports)]
    passing = {one["inode"] for one in sources if own & set(one["holders"])}
    if len(passing) < len(sources):
        time.sleep(PAUSE)
        passing |= {one["inode"] for one in sources} - {one["inode"] for one in all_sockets()}
    kept = [entry(one, ports) for one in outside if one["inode"] not in passing or not is_source(one, ports)]
    unique = {(one["protocol"], one["address"], one["port"]): one for one in kept}
    told = sorted(unique.values(), key=worst_first)
    return {"sockets": told[:MOST_SOCKETS], "left_out": max(0, len(told) - MOST_SOCKETS), "passing": len(passing)}


def worst_first(one: Entry) -> Any:
    """What others can reach in every way comes first, and what has a port of its own before what was given one."""
    return (not one["everywhere"], one["given"], one["protocol"], one["port"], one["address"])


def given_out() -> range:
    """The ports that the kernel gives to whoever asks for none; none where it does not say."""
    with suppress(OSError, ValueError):
        low, high = map(int, lines("/proc/sys/net/ipv4/ip_local_port_range")[0].split())
        return range(low, high + 1)
    return range(0)


def is_source(one: Entry, ports: range) -> bool:
    """Whether it may be no more than where a program sends from: a resolver, or a client of NTP."""
    return one["protocol"] == "udp" and one["port"] in ports


def entry(one: Entry, ports: range) -> Entry:
    """What is told of a socket."""
    kept = {key: one[key] for key in ("protocol", "address", "everywhere", "port", "program")}
    return {**kept, "given": is_source(one, ports)}


def all_sockets() -> list[Entry]:
    """Every socket that waits for others."""
    held = holders()
    return [one for name in ("tcp", "tcp6", "udp", "udp6") for one in sockets(name, held)]


def sockets(name: str, held: dict[str, dict[str, str]]) -> Iterator[Entry]:
    """The sockets of one protocol that wait for others."""
    rows: list[str] = []
    with suppress(OSError):  # without IPv6 there is no such file
        rows = lines("/proc/net/" + name)[1:]
    for words in (row.split() for row in rows):
        host, _, port = words[1].rpartition(":")
        address = address_of(host)
        if words[3] == (LISTEN if name.startswith("tcp") else UNCONNECTED):
            who = held.get(words[9], {})
            yield {
                "protocol": name[:3],
                "address": address,
                "everywhere": address in ("0.0.0.0", "::"),  # noqa: S104 - it is what is looked for
                "inside": address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1"),
                "port": int(port, 16),
                "program": min(who.values(), default=""),
                "holders": sorted(who),
                "inode": words[9],
            }


def address_of(word: str) -> str:
    """An address as /proc/net has it: words of the machine's own byte order, in hexadecimal."""
    raw = b"".join(struct.pack("=I", int(word[at : at + 8], 16)) for at in range(0, len(word), 8))
    return socket.inet_ntop(socket.AF_INET if len(word) == len("0100007F") else socket.AF_INET6, raw)


def holders() -> dict[str, dict[str, str]]:
    """The processes that hold each socket, and the names of their programs."""
    found: dict[str, dict[str, str]] = {}
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):
            target = os.readlink(link)
            if target.startswith("socket:["):
                process = link.split("/")[2]
                found.setdefault(target[8:-1], {})[process] = lines(f"/proc/{process}/comm")[0]
    return found


def apparmor(_given: Entry) -> Entry:
    """Whether the kernel's AppArmor is on."""
    path = "/sys/module/apparmor/parameters/enabled"
    if not os.path.exists(path):
        raise Absent("this kernel has no AppArmor")
    return {"enabled": lines(path)[0].strip() == "Y"}


def preloaded(_given: Entry) -> Entry:
    """Whether a library is put before every program."""
    path = "/etc/ld.so.preload"
    there = os.path.exists(path) and stat.S_ISREG(os.stat(path).st_mode) and os.path.getsize(path) > 0
    return {"preload": there}


PARTS = (
    system, kernel, mounts, updates, reboot, packages, sshd, sudo, accounts, passwords, logins, listening, apparmor,
    preloaded,
)  # fmt: skip


def answered(part: Any, given: Entry) -> Entry:
    """One part, or why there is none."""
    try:
        found: Entry = part(given)
    except Absent as error:
        return {"absent": str(error)}
    except (Unanswered, OSError, ValueError, IndexError, KeyError, TypeError, StopIteration, MemoryError) as error:
        return {"unknown": str(error) or type(error).__name__}
    return found


def modest() -> None:
    """Take no more of the host's memory than this needs, and be the first to go when there is none left."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def main() -> None:
    """Print all parts as one line of JSON."""
    modest()
    given = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps({part.__name__: answered(part, given) for part in PARTS}))


if __name__ == "__main__":
    main()
