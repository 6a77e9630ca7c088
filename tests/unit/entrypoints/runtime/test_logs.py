"""Log lines: one per fact, in UTC, as text or JSON, never a secret."""

import io
import json
import logging
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.entrypoints.runtime import logs
from prefect.agent.ports.events import Event

SECRET = "pcu_0123456789"


@pytest.fixture
def logger() -> logging.Logger:
    """The agent's logger."""
    return logging.getLogger(logs.LOGGER)


def set_up(form: str = "text", secrets: tuple[str, ...] = (SECRET,), level: str = "DEBUG") -> io.StringIO:
    """Logging into a text."""
    stream = io.StringIO()
    logs.set_up(level=level, form=form, agent_name="ann", secrets=secrets, stream=stream)
    return stream


def test_a_line_of_text(logger: logging.Logger) -> None:
    """Time in UTC with milliseconds, level, agent, message."""
    stream = set_up()
    logger.info("hello %s", "world")

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    ann \| hello world\n", stream.getvalue())


def test_the_time_is_utc_wherever_the_machine_is(logger: logging.Logger) -> None:
    """A record's time is the same in every zone."""
    record = logger.makeRecord(logs.LOGGER, logging.INFO, "f", 1, "m", (), None)
    record.created = 0.5

    assert logs.TextFormatter("a").format(record).startswith("1970-01-01T00:00:00.500Z")
    assert json.loads(logs.JsonFormatter("a").format(record))["ts"] == "1970-01-01T00:00:00.500Z"


def test_a_line_of_json(logger: logging.Logger) -> None:
    """One object per line with the fields of the event."""
    stream = set_up("json")
    logs.log_events(logger)(Event(name="claimed", message="Claimed\nit", level="WARNING", fields={"n": 1, "s": "ü"}))

    [line] = stream.getvalue().splitlines()
    entry = json.loads(line)
    ts = entry.pop("ts")
    assert ts.endswith("Z")
    assert entry == {
        "level": "WARNING",
        "logger": "prefect.agent",
        "agent": "ann",
        "version": logs.own_version(),
        "pid": os.getpid(),
        "event": "claimed",
        "message": "Claimed\nit",
        "n": 1,
        "s": "ü",
    }


def test_a_line_that_is_no_event_is_json_too(logger: logging.Logger) -> None:
    """What libraries and adapters log has the same shape."""
    stream = set_up("json")
    logging.getLogger("prefect.agent.cloud").warning("odd %d", 3)

    entry = json.loads(stream.getvalue())
    assert (entry["event"], entry["message"], entry["logger"]) == ("log", "odd 3", "prefect.agent.cloud")


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_gets_through(logger: logging.Logger, form: str) -> None:
    """Message, arguments, fields, exceptions: wherever the key turns up, it is masked (promise P5)."""
    stream = set_up(form)
    logger.info("key %s", SECRET)
    logger.info("in the text: " + SECRET)
    logs.log_events(logger)(Event(name="x", message=SECRET, fields={"a": SECRET, "traceback": f"T {SECRET}"}))
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("bug")

    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count(logs.MASK) >= 5
    assert "Traceback" in stream.getvalue()


def test_overlapping_secrets_leave_no_rest(logger: logging.Logger) -> None:
    """The longer one is taken out first."""
    stream = set_up(secrets=("abcd", "abcdefgh"))
    logger.info("x abcdefgh x abcd x")

    assert stream.getvalue().endswith(f"x {logs.MASK} x {logs.MASK} x\n")


@pytest.mark.parametrize("secret", ["", "a", "abc"])
def test_what_is_too_short_for_a_secret_is_left(logger: logging.Logger, secret: str) -> None:
    """An empty key must not put a mask between all letters."""
    stream = set_up(secrets=(secret,))
    logger.info("an abc")

    assert stream.getvalue().endswith("| an abc\n")


@given(st.text(alphabet="ab.%$\\", min_size=4, max_size=6), st.text(alphabet="ab.%$\\", max_size=8))
def test_any_secret_in_any_text(secret: str, rest: str) -> None:
    """Signs that mean something to patterns or formats are nothing special."""
    assert secret not in logs.Redact([secret]).clean(rest + secret + rest)


def test_a_bug_shows_where_it_is(logger: logging.Logger) -> None:
    """Below the line, and nothing below lines that are none."""
    stream = set_up()
    logs.log_events(logger)(Event(name="bug", message="Bug", level="ERROR", fields={"traceback": "line 1\nline 2"}))

    assert stream.getvalue().endswith("| Bug\nline 1\nline 2\n")


@pytest.mark.parametrize(
    ("environ", "terminal", "coloured"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
    ],
)
def test_levels_are_coloured_only_on_a_terminal_that_can(
    environ: dict[str, str], terminal: bool, coloured: bool, monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
) -> None:
    """NO_COLOR, a dumb terminal and a file get plain text; the JSON log has no colours anywhere."""
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    master, slave = os.openpty() if terminal else os.pipe()
    with open(slave, "w", encoding="utf-8") as stream, open(master, "rb") as reader:  # noqa: PTH123 - descriptors
        for form in ("text", "json"):
            logs.set_up(level="DEBUG", form=form, stream=stream)
            logger.warning("mind")
        first, second = reader.readline(), reader.readline()

    assert (b"\x1b[33mWARNING\x1b[0m agent | mind" in first) is coloured
    assert b"mind" in first
    assert b"\x1b" not in second


def test_the_first_line_says_what_the_agent_is() -> None:
    """Version, Python, system and process id, for people and for programs."""
    event = logs.first_line()

    assert event.name == "agent_begins"
    assert set(event.fields) == {"version", "python", "system", "pid"}
    assert all(str(value) in event.message for value in event.fields.values())


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_output_of_flow_runs_has_its_run(
    form: str, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard output, with the run's name or as JSON, whatever the log's level, and without secrets."""
    fields = {"flow_run_id": "r-1", "flow_run_name": "teal", "flow_name": "etl", "unit": "u"}
    set_up(form, level="ERROR")
    said = f"\x1b[31mred\x1b[0m \x1b[2J {SECRET}"
    logging.getLogger(logs.FLOW_OUTPUT).info("%s", said, extra={"event": "flow_output", "fields": fields})

    shown = capsys.readouterr()
    assert shown.err == ""
    assert SECRET not in shown.out
    if form == "text":
        assert shown.out == f"teal | \x1b[31mred\x1b[0m \\x1b[2J {logs.MASK}\n"
    else:
        entry = json.loads(shown.out)
        assert {name: entry[name] for name in fields} == fields
        assert entry["event"] == "flow_output"


def test_setting_up_again_replaces(logger: logging.Logger) -> None:
    """No line twice, and nothing to the root logger's handlers."""
    set_up()
    stream = set_up(level="WARNING")
    logger.info("quiet")
    logger.warning("loud")

    assert stream.getvalue().count("\n") == 1
    assert logger.propagate is False
    assert len(logger.handlers) == 1


def test_an_event_sink_that_raises_does_not_hurt_the_reporter(capsys: pytest.CaptureFixture[str]) -> None:
    """Each exception is counted; the first is reported to stderr by type and place, never by its words."""

    def broken(event: Event) -> None:
        raise ConnectionError(f"cannot send with {SECRET}")

    tell = logs.SafeSink(broken)
    for _ in range(3):
        tell(Event(name="x", message="m"))

    shown = capsys.readouterr().err
    assert tell.failures == 3
    assert shown.count("\n") == 1
    assert "ConnectionError (test_logs.py:" in shown
    assert SECRET not in shown


def test_a_safe_sink_hands_events_on() -> None:
    """Wrapped once, however often it is asked for."""
    heard: list[Event] = []
    event = Event(name="x", message="m")
    tell = logs.safe(heard.append)

    tell(event)

    assert heard == [event]
    assert logs.safe(tell) is tell
