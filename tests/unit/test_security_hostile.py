"""Whatever a host answers: it is judged or it is unknown; nothing raises, and nothing grows without bound."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsqueue.facts.shape import LONGEST, Each, Maybe, Part, shaped
from opsqueue.model.fact import read, why_unknown
from opsqueue.model.kind import Seen
from opsqueue.model.plan import Result
from opsqueue.operations.security_scan import OPERATION

CASES = Path(__file__).parents[1] / "operations/security_scan"
PARAMS = OPERATION.params()
FACTS = {fact.name: fact for fact in OPERATION.facts(PARAMS)}


def _recorded() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in FACTS}
    for path in sorted(CASES.glob("*.toml")):
        for row in tomllib.loads(path.read_text(encoding="utf-8")).get("before_raw", ()):
            if row["fact"] in found and row.get("stdout"):
                found[row["fact"]].append(row["stdout"])
    return found


RECORDED = _recorded()
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just({"unknown": "x"}),
    st.just({"absent": 7}), st.lists(st.integers(), max_size=2), st.just({}), st.just({"a": None}),
    st.just("\ud800"), st.just("a\0b"), st.just("x" * (LONGEST + 1)),
)  # fmt: skip


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, one in inner for place in _places(one, (*way, key)))]


def _with(value: Any, way: tuple[Any, ...], junk: Any, *, gone: bool) -> Any:
    if not way:
        return junk
    changed = copy.deepcopy(value)
    place = changed
    for key in way[:-1]:
        place = place[key]
    if gone:
        del place[way[-1]]
    else:
        place[way[-1]] = junk
    return changed


@pytest.mark.parametrize("name", [name for name in FACTS if name != "lynis"])
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_answer_of_a_host_breaks_the_analysis(name: str, data: st.DataObject) -> None:
    answers = {one: read(FACTS[one], Result(exit_code=0, stdout=RECORDED[one][0])) for one in FACTS if RECORDED[one]}
    good = json.loads(data.draw(st.sampled_from(RECORDED[name])))
    way = data.draw(st.sampled_from(_places(good)))
    bad = _with(good, way, data.draw(JUNK), gone=data.draw(st.booleans()))
    answers[name] = read(FACTS[name], Result(exit_code=0, stdout=json.dumps(bad)))
    json.dumps(answers, allow_nan=False).encode()
    seen = Seen(host="h", before={}, after=answers, metrics={}, earlier={}, thresholds={}, at=1.8e9)
    OPERATION.measure(PARAMS, {}, answers)
    OPERATION.verify(PARAMS, {}, answers)
    found = OPERATION.analyse(PARAMS, seen)
    OPERATION.report(PARAMS, seen)
    assert len(found.findings) <= 502
    if why_unknown(answers[name]):
        assert "scan_incomplete" in {one.code for one in found.findings}


def test_recorded_answers_are_of_the_known_shape() -> None:
    for name, texts in RECORDED.items():
        assert texts, name
        for text in texts if name != "lynis" else ():
            assert why_unknown(read(FACTS[name], Result(exit_code=0, stdout=text))) is None


@pytest.mark.parametrize(
    "text", ["", "nothing", "[]", "{}", "[" * 100_000, '{"suid": 1}', "Infinity", '"text"', "{" * 50]
)
def test_an_answer_that_is_none_is_unknown(text: str) -> None:
    for name, fact in FACTS.items():
        assert why_unknown(read(fact, Result(exit_code=0, stdout=text))), name


TABLE = [
    ({"a": 1, "b": 2}, {"a": int}, {"a": 1}),
    ({"x": None, "y": "z"}, Each(Maybe(str)), {"x": None, "y": "z"}),
    ({"unknown": "why"}, Part({"a": int}), {"unknown": "why"}),
    ([1, 2.5], [float], [1, 2.5]),
    ([], [int], []),
]


@pytest.mark.parametrize(("value", "shape", "wanted"), TABLE)
def test_a_value_is_kept_as_far_as_its_shape_knows_it(value: Any, shape: Any, wanted: Any) -> None:
    assert shaped(value, shape) == wanted


REFUSED = [
    ({}, {"a": int}, "has no a"),
    (True, int, "is no int"),
    (True, float, "is no float"),
    (float("nan"), float, "is no float"),
    ("a\0", str, "cannot be kept|can be kept"),
    ("\ud800", str, "surrogates"),
    ({"unknown": 1}, Part(int), "is no str"),
    ([[]] * 20_001, [[int]], "more than"),
]


@pytest.mark.parametrize(("value", "shape", "why"), REFUSED)
def test_another_shape_is_refused(value: Any, shape: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        shaped(value, shape)
