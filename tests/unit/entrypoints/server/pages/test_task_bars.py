"""Where bars of the timeline lie."""

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
