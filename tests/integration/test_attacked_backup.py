"""`backup_operation` on a host where somebody who may do little puts links and pipes in its way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import resticgen
from backup_cycle import cycle
from dbkit import ROOT, needs

pytestmark = [pytest.mark.service, needs(("restic", "restic"), ("setpriv", "util-linux"))]
as_root = pytest.mark.skipif(not ROOT, reason="needs root")
NOBODY = 65534


@pytest.fixture
def there():
    """A directory of root's, with the home of somebody else in it."""
    directory = Path(tempfile.mkdtemp(prefix="oqat"))
    try:
        directory.chmod(0o755)
        (directory / "key").write_text("canary\n")
        (directory / "key").chmod(0o600)
        (directory / "home/docs").mkdir(parents=True)
        (directory / "home/docs/text").write_text("of the backup\n")
        if ROOT:
            for path in (directory / "home", *(directory / "home").rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def asked(there: Path, **more):
    where = {"repository": str(there / "r"), "password": {"$secret": f"file:{there / 'key'}"}, "sudo": ROOT}
    return {**where, "work_dir": str(there / "work"), **more}


def backed_up(there: Path) -> None:
    resticgen.repository(there / "r", "canary")
    found = cycle(asked(there, paths=[str(there / "home/docs")]))
    assert found.good, (found.objections, found.problems)


def somebody(*argv: object) -> None:
    who = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    subprocess.run([*who, *map(str, argv)], check=True, timeout=30)


@as_root
def test_nothing_is_restored_where_somebody_else_could_lead_it_elsewhere(there):
    backed_up(there)
    home, docs, victim = there / "home", there / "home/docs", there / "victim"
    victim.mkdir()
    (victim / "text").write_text("of root\n")
    inside = home / "trap" / docs.relative_to("/")

    def meanwhile() -> None:
        somebody("mkdir", "-p", inside.parent)
        somebody("ln", "-s", victim, inside)
        somebody("ln", "-s", home / "trap", home / ".docs.opsqueue-data")

    restore = asked(there, task="restore", in_place=True, include=[str(docs)])
    found = cycle(restore, meanwhile=meanwhile)
    assert (victim / "text").read_text() == "of root\n"
    assert [one for one in found.objections if f"can change {home}," in one], (found.objections, found.problems)


@as_root
def test_a_place_that_somebody_made_first_is_not_restored_to(there):
    backed_up(there)
    everybodys, victim = there / "everybody", there / "victim"
    for path in (everybodys, victim):
        path.mkdir()
    everybodys.chmod(0o1777)
    goal = everybodys / "out"
    link = everybodys / ".out.opsqueue-data"
    restore = asked(there, task="restore", restore_to=str(goal))
    found = cycle(restore, meanwhile=lambda: somebody("ln", "-s", victim, link))
    assert found.problems
    assert (list(victim.iterdir()), goal.exists(), found.restored) == ([], False, [])
    again = cycle(restore)
    assert again.good, (again.objections, again.problems)
    assert (goal / (there / "home/docs/text").relative_to("/")).read_text() == "of the backup\n"


@as_root
@pytest.mark.parametrize(("owner", "mode"), [(NOBODY, 0o755), (0, 0o777), (0, 0o1777)])
def test_no_program_is_run_from_where_somebody_else_could_put_another(there, owner, mode):
    work = there / "loose/work"
    work.parent.mkdir()
    os.chown(work.parent, owner, owner)
    work.parent.chmod(mode)
    found = cycle(asked(there, paths=[str(there / "home")], init=True, work_dir=str(work)))
    assert [one for one in found.objections if f"can change {work.parent}," in one], found.problems
    assert not work.exists()


def test_a_pipe_that_is_called_as_the_mark_of_a_cache_holds_nobody_up(there):
    backed_up(there)
    os.mkfifo(there / "home/docs/CACHEDIR.TAG")
    params = asked(there, paths=[str(there / "home/docs")])
    found = cycle(params)
    assert [one for one in found.objections if "for ever" in one and "docs/CACHEDIR.TAG" in one]
    assert cycle({**params, "exclude_caches": False}).good
