"""What of a message stays the same from one repetition to the next."""

import pytest

from prefect.agent.domain.model.folding import stable_part


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("again for up to 95 s", "again for up to 7 s", True),
        ("after 1.5 s, 3 tries", "after 20 s, 12 tries", True),
        ("3 reports wait", "4 reports wait", True),
        ("(12.5 s left).", "(0.3 s left).", True),
        ("flow run run-1", "flow run run-2", False),
        ("http://127.0.0.1:4200", "http://127.0.0.1:4201", False),
        ("due at 08:01:07", "due at 08:01:09", False),
        ("00000000-1111-2222", "00000000-1111-3333", False),
        ("a", "b", False),
    ],
)
def test_only_numbers_that_stand_alone_do_not_count(first: str, second: str, same: bool) -> None:
    """Ids, names, addresses and times of day tell messages apart."""
    assert (stable_part(first) == stable_part(second)) is same
