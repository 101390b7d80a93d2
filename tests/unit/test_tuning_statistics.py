"""More than noise or not: exact chances, no false alarm for the same twice, and a real difference is seen."""

from __future__ import annotations

import random

import pytest

from opsqueue.operations.tuning.statistics import chance, compared, shift, short

GIVEN = {"better": "higher", "max_cv": 0.05, "min_effect": 3.0, "alpha": 0.05}
SHARED = [3444.0, 5025.0, 2830.0, 1810.0, 2310.0]
"""sysbench on a busy virtual machine, measured: its variation is 0.40."""


def test_exact_chances():
    assert chance([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert chance([6, 7, 8, 9, 10], [1, 2, 3, 4, 5]) == pytest.approx(2 / 252)
    assert chance([1, 3, 5, 7, 9], [2, 4, 6, 8, 10]) == pytest.approx(0.690476, abs=1e-5)
    assert chance([5.0] * 5, [5.0] * 5) == 1.0
    assert chance([1.0] * 5, [2.0] * 5) == pytest.approx(2 / 252)


def test_many_are_approximated_and_agree():
    one, two = [float(n) for n in range(9)], [float(n) + 100 for n in range(9)]
    assert chance(one, two) < 0.001
    assert chance(one, one) == pytest.approx(1.0)
    assert chance([3.0] * 20, [3.0] * 20) == 1.0


def test_a_row_in_short():
    row = short(SHARED)
    assert (row.median, row.mad, row.low, row.high) == (2830.0, 614.0, 1810.0, 5025.0)
    assert row.cv == pytest.approx(0.40, abs=0.02)
    assert shift([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])[0] == 1.0


@pytest.mark.parametrize(
    ("old", "new", "more", "verdict"),
    [
        ([100, 101, 99, 100, 102], [110, 111, 109, 112, 110], {}, "improved"),
        ([100, 101, 99, 100, 102], [90, 91, 89, 92, 90], {}, "worse"),
        ([100, 101, 99, 100, 102], [90, 91, 89, 92, 90], {"better": "lower"}, "improved"),
        ([100, 101, 99, 100, 102], [101, 100, 99, 102, 100], {}, "same"),
        ([100.0, 100.1, 100.2, 100.3, 100.4], [101.0, 101.1, 101.2, 101.3, 101.4], {}, "same"),  # certain, and small
        (SHARED, [value * 1.3 for value in SHARED], {}, "inconclusive"),
        (SHARED, [value * 4 for value in SHARED], {}, "inconclusive"),  # never improved where it varies so much
        (SHARED, [value / 4 for value in SHARED], {}, "worse"),
        ([0, 0, 0, 0, 0], [7, 7, 7, 7, 7], {}, "improved"),
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0], {}, "same"),
    ],
)
def test_verdicts(old, new, more, verdict):
    assert compared("x", old, new, **(GIVEN | more)).verdict == verdict


@pytest.mark.parametrize("spread", [0.01, 0.04, 0.4])
def test_the_same_twice_is_no_change(spread):
    """In 95 of 100 runs at least nothing is said to be better or worse."""
    dice = random.Random(7)
    told = 0
    for _ in range(400):
        old, new = ([dice.gauss(1000, 1000 * spread) for _ in range(5)] for _ in range(2))
        told += compared("x", old, new, **GIVEN).verdict in {"improved", "worse"}
    assert told <= 20
