"""How a keeper tells a deaf worker from a busy one: by when it last took a message."""

from __future__ import annotations

import os
import time

from opsqueue.settings import Settings
from opsqueue.tasks.taken import Taken, forget_old, last_taken, place


def test_a_message_that_was_taken_is_seen(tmp_path):
    settings = Settings(state_dir=tmp_path)
    assert last_taken(settings, "shared-a") == 0.0
    Taken(str(place(settings, "shared-a"))).note()
    assert abs(last_taken(settings, "shared-a") - time.time()) < 5
    assert last_taken(settings, "shared-b") == 0.0


def test_a_name_cannot_lead_out_of_the_directory(tmp_path):
    settings = Settings(state_dir=tmp_path)
    Taken(str(place(settings, "../../shared"))).note()
    assert [path.parent for path in tmp_path.rglob("*shared")] == [tmp_path / "taken"]


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    Taken(str(tmp_path / "taken" / "name")).note()
    Taken(None).note()


def test_files_of_yesterday_are_forgotten(tmp_path):
    settings = Settings(state_dir=tmp_path)
    for name in ("old", "new"):
        Taken(str(place(settings, name))).note()
    day_ago = time.time() - 90_000
    os.utime(place(settings, "old"), (day_ago, day_ago))
    forget_old(settings)
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["new"]
