"""A secret on its way to a command: read at the last moment, given by environment, and in nothing that is kept."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from opsqueue.connectors.local import LocalShell
from opsqueue.errors import CommandNotSent
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Command, Plan, Step, plan_digest

# Of this process alone: its neighbours in a parallel run send theirs at the same time, one of them (see the stand-in
# for sudo below) in the words of a command, and the list of processes is everybody's.
VALUE = f"correct horse 'battery' $(staple) {os.getpid()}"


@pytest.fixture
def reference(tmp_path):
    file = tmp_path / "secret"
    file.write_text(VALUE + "\n")
    file.chmod(0o600)
    return f"file:{file}"


def script(name: str, text: str, **secrets: str) -> Fact:
    return Fact(name=name, ask=Script(text=text, secrets=secrets), parse=lambda result: result.stdout)


def test_a_command_gets_it_and_its_answer_does_not_show_it(reference):
    measure = 'printf %s "$PGPASSWORD" | wc -c; printf "%s" "$PGPASSWORD"; printf "%s" "$PGPASSWORD" >&2'
    result = LocalShell().run(Command(argv=("sh", "-c", measure), secrets={"PGPASSWORD": reference}))
    assert result.stdout == f"{len(VALUE)}\n[secret]"
    assert result.stderr == "[secret]"


def test_it_stands_in_no_list_of_processes(reference):
    seen = []
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            for path in (one / "cmdline" for one in Path("/proc").glob("[0-9]*")):
                try:
                    words = path.read_bytes()
                except OSError:
                    continue
                if VALUE.encode() in words:
                    seen.append(words)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        shell = LocalShell()
        shell.run(Command(argv=("sleep", "0.5"), secrets={"PGPASSWORD": reference}))
        shell.ask([script("one", "sleep 0.5", PGPASSWORD=reference)])
    finally:
        stop.set()
        watcher.join()
    assert seen == []


def test_each_script_gets_its_own_and_no_other(tmp_path, reference):
    other = tmp_path / "other"
    other.write_text("another one")
    other.chmod(0o600)
    found = LocalShell().ask(
        [
            script("none", 'env | grep -c -e SECRET -e PGPASSWORD; printf "[%s]" "$PGPASSWORD"'),
            script("one", 'printf %s "$PGPASSWORD" | wc -c; env | grep -c OPSQUEUE_SECRET', PGPASSWORD=reference),
            script("two", 'printf %s "$PGPASSWORD" | wc -c; echo "$PGPASSWORD"', PGPASSWORD=f"file:{other}"),
        ]
    )
    assert found == {"none": "0\n[]", "one": f"{len(VALUE)}\n0\n", "two": "11\n[secret]\n"}


def test_one_that_cannot_be_read_stops_its_own_script_and_command_and_is_named(tmp_path, reference):
    missing = f"file:{tmp_path}/nothing"
    found = LocalShell().ask(
        [script("lost", "echo no", P=missing), script("well", 'test "$P" && echo yes', P=reference)]
    )
    assert found["well"] == "yes\n"
    assert missing in found["lost"]["unknown"]
    with pytest.raises(CommandNotSent, match="nothing"):
        LocalShell().run(Command(argv=("touch", str(tmp_path / "sent")), secrets={"P": missing}))
    assert not (tmp_path / "sent").exists()


def test_a_file_that_others_can_read_is_refused(tmp_path):
    open_to_all = tmp_path / "open"
    open_to_all.write_text(VALUE)
    open_to_all.chmod(0o644)
    with pytest.raises(CommandNotSent, match="chmod 600") as caught:
        LocalShell().run(Command(argv=("true",), secrets={"P": f"file:{open_to_all}"}))
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reference_"), [("A B", "env:HOME"), ("A", "plain text"), ("A", "vault:x"), ("A", "env:")]
)
def test_what_is_no_reference_or_no_name_is_refused(name, reference_):
    with pytest.raises(CommandNotSent):
        LocalShell().run(Command(argv=("true",), secrets={name: reference_}))


def test_the_digest_and_the_record_hold_the_reference_alone(reference):
    plan = Plan(steps=(Step(title="t", command=Command(argv=("true",), secrets={"PGPASSWORD": reference})),))
    kept = repr(plan.as_json()) + str(plan.steps[0].command)
    assert reference in kept
    assert "correct horse" not in kept
    before = plan_digest("x", {}, [("h", plan)])
    Path(reference.removeprefix("file:")).write_text("changed")
    assert plan_digest("x", {}, [("h", plan)]) == before


@pytest.mark.service
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("runuser"), reason="needs root, to become somebody else")
def test_sudo_is_told_to_keep_it(tmp_path):
    """A stand-in for sudo that clears the environment as sudo does, save what it is told to keep."""
    place = Path(f"/tmp/{tmp_path.name}-{os.getpid()}")
    place.mkdir(mode=0o755)
    try:
        owner = pwd.getpwnam("nobody")
        (place / "secret").write_text(VALUE)
        (place / "secret").chmod(0o600)
        os.chown(place / "secret", owner.pw_uid, owner.pw_gid)
        (place / "sudo").write_text(
            '#!/bin/sh\n[ "$1" = -n ] || exit 9\nshift\nkeep=\n'
            "case $1 in --preserve-env=*) keep=${1#*=}; shift ;; esac\n"
            'set -- "$@"\nfor name in $(echo "$keep" | tr , " "); do eval "v=\\$$name"; set -- "$name=$v" "$@"; done\n'
            'exec env -i "PATH=$PATH" "$@"\n'
        )
        (place / "sudo").chmod(0o755)
        program = (
            f"import sys; sys.path[:0] = [{str(Path(__file__).parents[2])!r}]\n"
            "from opsqueue.connectors.local import LocalShell\n"
            "from opsqueue.model.fact import Fact, Script\n"
            "from opsqueue.model.plan import Command\n"
            "given = {'SECRET_A': 'file:PLACE/secret'}\n"
            "ask = ('sh', '-c', 'printf %s \"$SECRET_A\" | wc -c')\n"
            "print(LocalShell().run(Command(argv=ask, sudo=True, secrets=given)).stdout.strip())\n"
            "ask = Script(text=ask[2], sudo=True, secrets=given)\n"
            "fact = Fact(name='f', ask=ask, parse=lambda result: result.stdout.strip())\n"
            "print(LocalShell().ask([fact])['f'])\n"
        ).replace("PLACE", str(place))
        argv = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", sys.executable, "-c", program]
        env = {"PATH": f"{place}:{os.environ['PATH']}", "HOME": "/nonexistent"}
        done = subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, check=False, timeout=60)
        if "Permission denied" in done.stderr or "No such file" in done.stderr:
            pytest.skip("nobody may not read this Python")
        assert done.stdout.split() == [str(len(VALUE))] * 2, done.stderr
    finally:
        shutil.rmtree(place)
