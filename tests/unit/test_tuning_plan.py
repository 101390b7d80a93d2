"""The words of a tuning: what is set, and the way back that the guard holds before anything is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from opsqueue.model.fact import read
from opsqueue.model.plan import Result
from opsqueue.operations.performance_tuning import OPERATION

CASES = Path(__file__).parents[1] / "operations" / "performance_tuning"


def plans(name):
    """The plan of a golden case, and its way back: the words behind each script."""
    data = tomllib.loads((CASES / f"{name}.toml").read_text())
    params = OPERATION.params.model_validate(data["params"])
    fact = OPERATION.facts(params)[0]
    before = {"tuning": read(fact, Result(exit_code=0, stdout=data["before_raw"][0]["stdout"]))}
    there, back = OPERATION.plan(params, before), OPERATION.rollback(params, before, {})
    return [step.command.argv[4:] for step in there.steps], [step.command.argv[4:] for step in back.steps]


def test_values_go_back_in_reverse_order_and_the_file_first():
    (arm, apply, files, confirm), (undo,) = plans("applied")
    place, file = "/var/lib/opsqueue-tuning/custom", "/etc/sysctl.d/60-opsqueue-custom.conf"
    one, two = "/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv4/tcp_fin_timeout"
    back = ("gone", file, "knob", two, "60", "knob", one, "4096")
    assert (arm[1:3], arm[3:]) == ((place, "120"), back)
    assert apply == (place, "knob", one, "2048", "knob", two, "30")
    assert (files[:4], confirm) == ((place, "file", file, "644"), (place,))
    assert undo == (place, *back)


def test_of_a_pair_the_one_that_was_not_zero_goes_back():
    (arm, *_), (undo,) = plans("pair")
    assert arm[3:] == undo[1:] == ("knob", "/proc/sys/vm/dirty_ratio", "20")


def test_the_guard_waits_for_the_measuring_too():
    (arm, _apply, measure, *_rest), _ = plans("better")
    assert int(arm[2]) == 120 + 12 * 12 + 30
    old, new = measure[2], measure[3]
    assert old.splitlines() == ["/proc/sys/net/ipv4/tcp_fin_timeout\t60", "/proc/sys/net/core/somaxconn\t4096"]
    assert new.splitlines() == ["/proc/sys/net/core/somaxconn\t2048", "/proc/sys/net/ipv4/tcp_fin_timeout\t30"]
    assert measure[4] == "shop\tcommand\t40\tbench"


def test_the_directory_of_a_drop_in_goes_with_it():
    _, (undo,) = plans("unit")
    at = "/etc/systemd/system/shop.service.d"
    assert undo[1:] == ("gone", f"{at}/60-opsqueue-custom.conf", "rmdir", at, "reload")


def test_the_same_facts_give_the_same_plan():
    assert plans("better") == plans("better")


def after_a_benchmark(*rows):
    """The way back of a benchmark that did not end well, with what it left."""
    data = tomllib.loads((CASES / "not_measured.toml").read_text())
    params = OPERATION.params.model_validate(data["params"])
    fact, said = OPERATION.facts(params)[0], data["before_raw"][0]["stdout"]
    before, after = (
        {"tuning": read(fact, Result(exit_code=0, stdout=text))}
        for text in (said, said.replace("\nend\n", "\n".join(("", *rows, "end", ""))))
    )
    return OPERATION.rollback(params, before, after)


def test_a_benchmark_that_failed_has_nothing_to_undo():
    assert not after_a_benchmark()


def test_a_benchmark_that_was_killed_removes_its_file_and_keeps_the_way_back_of_the_change_before():
    (clear,) = after_a_benchmark("scratch").steps
    assert clear.command.argv[4:] == ("/var/lib/opsqueue-tuning/custom",)
    assert "$place/undo" not in clear.command.argv[2]


@pytest.mark.parametrize(
    ("sysctl", "offered"),
    [
        ({"net.core.somaxconn": "1"}, True),
        ({"net.ipv4.ip_forward": "1"}, True),
        ({"net.ipv4.tcp_congestion_control": "vegas"}, True),
        ({"net.core.somaxconn": "many"}, False),
        ({"net.core.somaxcon": "8192"}, False),
        ({"net.core.somaxconn": "1", "net.ipv4.tcp_rmem": "4096 8192"}, False),
    ],
)
def test_to_set_it_all_the_same_is_offered_for_a_wish_and_not_for_a_slip(sysctl, offered):
    with pytest.raises(ValueError, match=next(iter(sysctl))) as refused:
        OPERATION.params.model_validate({"task": "apply", "sysctl": sysctl})
    assert ("allow_unsafe" in str(refused.value)) == offered
    OPERATION.params.model_validate({"task": "apply", "sysctl": sysctl, "allow_unsafe": True})
