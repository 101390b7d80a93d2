"""Commands in advice can be copied: the id in them is the operation's."""

from __future__ import annotations

import pytest

from opsqueue.model.advice import with_id

ID = "6f1c2d1e-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("advice", "said"),
    [
        (
            "Log in and look; then `opsqueue cancel ID --reason …` closes it.",
            "Log in and look; then `opsqueue cancel 6f1c2d1e --reason …` closes it.",
        ),
        ("See `opsqueue logs` for it.", "See `opsqueue logs 6f1c2d1e` for it."),
        ("`opsqueue retry ID --failed`", "`opsqueue retry 6f1c2d1e --failed`"),
        ("ID of `opsqueue hosts check`", "ID of `opsqueue hosts check`"),
        ("`opsqueue logs ID` IDEA", "`opsqueue logs 6f1c2d1e` IDEA"),
    ],
)
def test_the_place_of_the_id_is_filled(advice, said):
    assert with_id(advice, ID) == said
