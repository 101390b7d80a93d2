"""What the capacity planning asks beside the reading, on this machine."""

from __future__ import annotations

from opsqueue.connectors.local import LocalShell
from opsqueue.facts.capacity import directories, volumes


def test_sizes_of_directories_whatever_they_are_called(tmp_path):
    odd = tmp_path / "-rf $(touch x) 'a' \"b\"; ü"
    odd.mkdir()
    (odd / "file").write_bytes(b"x" * 1_000_000)
    asked = (str(odd), str(tmp_path / "gone"), str(tmp_path / "file"))
    (tmp_path / "file").touch()
    found = LocalShell().ask([directories(asked, sudo=False, timeout=20)])["directories"]
    assert list(found) == list(asked)
    assert found[asked[0]] >= 1_000_000
    assert found[asked[1]] is None
    assert found[asked[2]] is None
    assert not (tmp_path / "x").exists()


def test_a_host_without_lvm_has_no_volume_groups_and_every_device_a_size():
    found = LocalShell().ask([volumes(sudo=False, timeout=20)])["volumes"]
    assert set(found) == {"devices", "groups", "volumes"}
    assert all(one["size"] > 0 and one["type"] for one in found["devices"].values())
