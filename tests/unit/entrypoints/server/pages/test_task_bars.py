"""Where bars of the timeline lie."""

import pytest

from prefect.agent.entrypoints.server.pages.task_bars import HEIGHT, WIDTH, Scale, attempts, bars, folded, seconds


def at(second: int) -> str:
    """A stored time, *second* seconds after a full minute."""
    return f"2026-01-01T00:00:{second:02}+00:00"


ZERO = seconds(at(0))
SCALE = Scale(start=ZERO, end=ZERO + 10)


def test_each_attempt_has_a_span_and_each_wait_for_a_retry() -> None:
    """An attempt has the state that ended it; the last one runs until now."""
    history = [("Pending", at(0)), ("Running", at(1)), ("Retrying", at(3)), ("Running", at(6)), ("Running", at(7))]

    found = attempts(history, ZERO + 9)

    assert [(state, start - ZERO, end - ZERO) for state, start, end in found] == [
        ("Failed", 1, 3), ("Retrying", 3, 6), ("Running", 6, 9),
    ]  # fmt: skip


def test_a_history_without_an_attempt_has_no_span() -> None:
    """A run that was skipped has never run."""
    assert attempts([("Pending", at(0)), ("Skipped", at(1))], ZERO + 9) == []


def test_bars_lie_where_their_times_are() -> None:
    """A wait for a retry is thin; a moment can still be seen, at the right edge too."""
    one, wait, moment = bars(
        [("Success", ZERO, ZERO + 5), ("Retrying", ZERO, ZERO + 1), ("Failed", ZERO + 10, ZERO + 10)], SCALE
    )

    assert (one.x, one.width, one.height) == (0, WIDTH / 2, HEIGHT)
    assert wait.height < HEIGHT / 2
    assert moment.width > 0
    assert moment.x + moment.width <= WIDTH


def test_a_folded_row_is_bounded_however_many_task_runs_it_has() -> None:
    """Neighbours become one bar; each state has a strip of its own."""
    spans = [("Success" if n % 2 else "Failed", ZERO + n / 1000, ZERO + n / 1000 + 0.0001) for n in range(10_000)]

    found = folded(spans, SCALE)

    assert {bar.state for bar in found} == {"Success", "Failed"}
    assert len({bar.y for bar in found}) == 2
    assert len(found) <= 400


def test_a_part_is_drawn_at_full_width() -> None:
    """What lies outside is left out or cut; the marks still count from the begin of the run."""
    part = SCALE.part(2, 4)

    found = bars([("Success", ZERO, ZERO + 3), ("Failed", ZERO + 5, ZERO + 6)], part)

    assert [(one.state, one.x, one.width) for one in found] == [("Success", 0, WIDTH / 2)]
    assert folded([("Failed", ZERO + 5, ZERO + 6)], part) == []
    assert part.ticks() == [2, 2.5, 3, 3.5, 4]


@pytest.mark.parametrize(("since", "until"), [(0, float("inf")), (5, 5), (7, 3), (float("nan"), 20), (100, 200)])
def test_what_is_no_part_is_the_whole(since: float, until: float) -> None:
    """An address may say anything."""
    assert SCALE.part(since, until) == SCALE


def test_there_is_a_way_from_each_part_to_the_others() -> None:
    """In and out, to both sides as far as the run goes, and back to all of it."""
    assert SCALE.steps(SCALE) == {"Zoom in": (2.5, 7.5)}
    assert SCALE.part(0, 2).steps(SCALE) == {
        "Zoom in": (0.5, 1.5), "Zoom out": (0, 3), "Later": (1, 3), "Whole run": None,
    }  # fmt: skip
    assert SCALE.part(3, 9).steps(SCALE) == {
        "Zoom in": (4.5, 7.5), "Zoom out": None, "Earlier": (0, 6), "Later": (4, 10), "Whole run": None,
    }  # fmt: skip
