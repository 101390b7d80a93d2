"""`opsqueue monitor` reads this machine."""

from __future__ import annotations

import json

from opsqueue.cli.main import main


def test_monitor_reads_once_when_piped(tmp_path, capsys):
    config = tmp_path / "opsqueue.json"
    config.write_text(json.dumps({"state_dir": str(tmp_path / "state"), "hosts": {"h1": {"connector": "local"}}}))
    assert main(["monitor", "--config", str(config), "--output", "json"]) == 0
    (host,) = json.loads(capsys.readouterr().out)["hosts"]
    assert (host["host"], host["error"]) == ("h1", None)
    assert host["metrics"]["memory_usage"]["unit"] == "percent"
    assert not (tmp_path / "state").exists()
    assert main(["monitor", "--config", str(config), "--once"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("h1 ")
