"""Debian versions are compared as dpkg compares them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsqueue.facts.on_host.advisories_host import debian

UPSTREAM = st.text("0123456789abcAZ.+~", min_size=1, max_size=8)
REVISION = st.one_of(st.just(""), st.text("0123456789aB.+~", min_size=1, max_size=5).map("-{}".format))
VERSIONS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "0:", "1:", "12:"]),
    st.integers(0, 30),
    UPSTREAM,
    REVISION,
)


@pytest.mark.service
@pytest.mark.skipif(not shutil.which("dpkg"), reason="needs dpkg")
@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(VERSIONS, VERSIONS), min_size=20, max_size=20))
def test_debian_versions_are_compared_as_dpkg_does(pairs: list[tuple[str, str]]) -> None:
    text = "".join(
        f"dpkg --compare-versions '{one}' lt '{two}' && echo -1 || "
        f"{{ dpkg --compare-versions '{one}' gt '{two}' && echo 1 || echo 0; }}\n"
        for one, two in pairs
    )
    said = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    assert said.stderr == ""
    assert [debian(one, two) for one, two in pairs] == [int(word) for word in said.stdout.split()]
