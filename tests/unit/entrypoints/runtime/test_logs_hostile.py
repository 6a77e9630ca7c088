"""Log lines of hostile texts: one line for each message, nothing that a terminal obeys, not too long, no error."""

import io
import json
import logging
import sys

import pytest

from prefect.agent.entrypoints.runtime import logs, outlet
from prefect.agent.ports.events import Event

KEY = "pak_SECRET-of-the-agent"
EVIL = "name\n2026-01-01T00:00:00.000Z ERROR   agent | all is lost\x1b[2J\x9b31m\u202e"


@pytest.fixture
def logger() -> logging.Logger:
    """The agent's logger."""
    return logging.getLogger(logs.LOGGER)


def set_up(form: str) -> io.StringIO:
    """Logging into a text."""
    stream = io.StringIO()
    logs.set_up(level="DEBUG", form=form, agent_name=EVIL, secrets=[KEY], stream=stream)
    return stream


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_message_is_one_line_that_no_terminal_obeys(logger: logging.Logger, form: str) -> None:
    """In the message, a field or the agent's own name."""
    stream = set_up(form)
    logs.log_events(logger)(Event(name="claimed", message=EVIL, fields={"flow_run_name": EVIL}))
    logger.warning("%s", EVIL)

    shown = stream.getvalue()
    assert shown.count("\n") == 2
    assert not set(shown) & set("\x1b\x9b\u202e")
    if form == "json":
        first, _ = map(json.loads, shown.splitlines())
        assert (first["message"], first["flow_run_name"], first["agent"]) == (EVIL, EVIL, EVIL)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_long_message_is_cut(logger: logging.Logger, form: str) -> None:
    """900 KB of a run's maker are not 900 KB of log; the line says how much there was."""
    stream = set_up(form)
    logs.log_events(logger)(Event(name="x", message="m" * 900_000, fields={"name": "f" * 900_000}))

    shown = stream.getvalue()
    assert len(shown) < 3 * logs.MAX_MESSAGE
    assert "(cut: 900000 characters)" in shown


def test_the_lines_of_a_traceback_stay_and_its_end_too(logger: logging.Logger) -> None:
    """Without what a terminal obeys; of a very long one the end says most."""
    stream = set_up("text")
    try:
        raise ValueError("y" * 200_000 + "\x1b[2J the end")
    except ValueError:
        logger.exception("bug")

    head, _, trace = stream.getvalue().partition("\n")
    assert head.endswith("| bug")
    assert trace.endswith("\\x1b[2J the end\n")
    assert len(trace) < 2 * logs.MAX_TRACEBACK


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_bad_log_line_hurts_nobody(logger: logging.Logger, form: str) -> None:
    """A wrong format is said in the line; neither the code that logs nor stderr gets to see the arguments."""
    stream = set_up(form)
    logger.info("%d of them", KEY)

    assert stream.getvalue().count("\n") == 1
    assert "TypeError" in stream.getvalue()
    assert KEY not in stream.getvalue()


def test_a_stream_that_breaks_shows_no_arguments(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """Unlike logging's own report of such errors."""
    stream = set_up("text")
    stream.close()
    logger.info("key %s", KEY)

    assert capsys.readouterr().err == "Cannot write a log line: ValueError\n"


def test_without_a_log_a_traceback_is_masked_on_stderr(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as nothing is set up; hooks of the interpreter are put back."""
    logger.handlers.clear()
    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr("threading.excepthook", sys.excepthook)
    monkeypatch.setenv("PREFECT__CLOUD__API_KEY", f"{KEY}\n")
    outlet.install()

    problem = ValueError(f"bad header {KEY!r}")
    sys.excepthook(type(problem), problem, None)

    shown = capsys.readouterr().err
    assert shown.startswith("Bug: ValueError: bad header")
    assert KEY not in shown
    monkeypatch.delenv("PREFECT__CLOUD__API_KEY")
    outlet.know()
