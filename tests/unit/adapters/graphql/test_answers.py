"""Codes of errors, reasons of failures and the Cloud's clock, as the GraphQL adapter reads them."""

import http.client
import socket
import ssl
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from prefect.agent.adapters.graphql import answers
from prefect.agent.adapters.problems import why
from prefect.agent.adapters.skew import LEAST, SAMPLES, SkewMeter, read_date
from support.builders import NOW

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["code", "extensions", "exception", "response", "body", "errors", "message", "path", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


# --- codes ---


def nested(code: str) -> list[dict[str, Any]]:
    """A code in all the places where gateways put it."""
    inner = {"errors": [{"message": "m", "extensions": {"code": code}}]}
    return [
        {"extensions": {"code": code}},
        {"extensions": {"code": "INTERNAL_SERVER_ERROR", "exception": {"code": code}}},
        {"extensions": {"exception": {"extensions": {"code": code}}}},
        {"extensions": {"response": {"body": inner}}},
        {"extensions": {"exception": {"response": inner}}},
        {"extensions": {"exception": inner}},
    ]


@pytest.mark.parametrize("code", sorted(answers.REJECTIONS))
def test_codes_are_found_where_gateways_put_them(code: str) -> None:
    """Its own code, or that of the service behind the gateway."""
    for error in nested(code):
        assert code in answers.codes(error)
        assert answers.is_rejection([error])


@pytest.mark.parametrize("code", ["BAD_USER_INPUT", "UNAUTHENTICATED"])
def test_words_are_no_codes(code: str) -> None:
    """A text, a key or another field that holds a code says nothing."""
    for error in (
        {"message": code},
        {"message": f"{code}: Malformed Authorization header in the text"},
        {"extensions": {"message": code, "stacktrace": [f'"code": "{code}"'], code: True}},
        {"extensions": {"code": f"NOT_{code}"}},
        {"extensions": {"code": [code]}},
        {"extensions": code},
        {"code": code},
    ):
        assert not answers.is_rejection([error])
        assert not answers.is_unauthenticated([error])


@pytest.mark.parametrize("message", ["Malformed Authorization header", "Malformed Authorization header. "])
def test_a_malformed_key_is_known_by_its_message(message: str) -> None:
    """The gateway's answer to it has no code, but always the same words."""
    assert answers.is_unauthenticated([{"message": message}])


@given(JSON)
def test_no_answer_makes_reading_its_errors_raise(value: Any) -> None:
    """Whatever is sent in the place of errors."""
    found = answers.read_errors(value)

    assert isinstance(answers.describe(found), str)
    assert answers.is_rejection(found) in {True, False}
    assert answers.is_unauthenticated(found) in {True, False}
    assert all(isinstance(answers.field_of(error), str | None) for error in found)


def test_errors_nested_without_end_are_left() -> None:
    """A code so deep is not looked for."""
    error: dict[str, Any] = {"code": "BAD_USER_INPUT"}
    for _ in range(5000):
        error = {"extensions": error}

    assert answers.codes(error) == frozenset()


# --- reasons ---


def caused(outer: Exception, inner: BaseException) -> Exception:
    """*outer*, raised from *inner*."""
    outer.__cause__ = inner
    return outer


POOL: Any = object()


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (
            requests.ConnectionError(
                MaxRetryError(
                    POOL, "/", caused(NewConnectionError(POOL, "Failed: x"), ConnectionRefusedError(111, "refused"))
                )
            ),
            "Connection refused",
        ),
        (requests.ConnectionError(caused(OSError("x"), socket.gaierror(-2, "unknown"))), "the name does not resolve"),
        (requests.ReadTimeout(TimeoutError("timed out")), "no complete answer in time"),
        (
            requests.ConnectionError(ProtocolError("aborted", http.client.RemoteDisconnected("x"))),
            "the connection was closed without an answer",
        ),
        (requests.exceptions.ChunkedEncodingError(http.client.IncompleteRead(b"x", 5)), "the answer broke off"),
        (
            requests.ConnectionError(ProtocolError("aborted", ConnectionResetError(104, "x"))),
            "Connection reset by peer",
        ),
        (
            requests.exceptions.ProxyError(OSError("Tunnel connection failed: 403 Forbidden")),
            "Tunnel connection failed",
        ),
        (requests.exceptions.InvalidURL("no host"), "no host"),
        (requests.ConnectionError(), "ConnectionError"),
        (requests.ConnectionError(f"{object()!r}: broken"), "broken"),
    ],
)
def test_reasons_are_words(problem: Exception, words: str) -> None:
    """The innermost reason, in words that mean something to a person."""
    found = why(problem)

    assert words in found
    assert "object at" not in found
    assert "MaxRetryError" not in found


def test_the_reason_of_a_certificate_that_is_not_believed() -> None:
    """It says what is wrong with the certificate."""
    problem = ssl.SSLCertVerificationError(1, "x")
    problem.verify_message = "self-signed certificate"

    assert why(requests.exceptions.SSLError(problem)) == "certificate verify failed: self-signed certificate"


def test_reasons_in_a_circle_end() -> None:
    """Two problems that name each other as their cause."""
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first

    assert why(first)


# --- the Cloud's clock ---


def dated(ahead: float, took: float = 0.1, stamped: float = 0.5) -> tuple[str, float, Any]:
    """An answer of a clock so far ahead, that took a while, and was stamped at a part of that time."""
    sent = NOW - timedelta(seconds=took)
    there = sent + timedelta(seconds=took * stamped + ahead)
    return format_datetime(there, usegmt=True), took, NOW


@given(st.floats(0, 30), st.floats(0, 1))
def test_latency_and_whole_seconds_never_show_as_skew(took: float, stamped: float) -> None:
    """Clocks that agree show no skew, however long an answer takes, and whenever it was stamped."""
    meter = SkewMeter()
    for _ in range(3):
        meter.answered(*dated(0, took, stamped))

    assert meter.skew == 0.0


@given(st.floats(-4000, 4000), st.floats(0, 2), st.floats(0, 1))
def test_skew_is_measured_within_two_seconds(ahead: float, took: float, stamped: float) -> None:
    """Quick answers tell it; below two seconds it is none."""
    meter = SkewMeter()
    meter.answered(*dated(ahead, took, stamped))

    assert abs(meter.skew - ahead) <= LEAST + 1.5
    assert meter.skew == 0.0 or abs(meter.skew) >= LEAST


def test_one_wrong_answer_is_no_skew() -> None:
    """A cache, or one machine of many with a wrong clock, does not move the others' time."""
    meter = SkewMeter()
    for number in range(SAMPLES):
        meter.answered(*dated(3600 if number % 4 == 3 else 0))

    assert meter.skew == 0.0


def test_a_clock_that_was_set_is_followed() -> None:
    """After some answers the old ones are forgotten."""
    meter = SkewMeter()
    for ahead in (45,) * SAMPLES + (0,) * SAMPLES:
        meter.answered(*dated(ahead))

    assert meter.skew == 0.0


def test_slow_answers_do_not_replace_quick_ones() -> None:
    """An answer that was waited for says little about the time."""
    meter = SkewMeter()
    meter.answered(*dated(45))
    for _ in range(SAMPLES):
        meter.answered(*dated(45, took=30, stamped=1.0))

    assert abs(meter.skew - 45) < LEAST


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "Wed, 99 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 2015 07:28:00 -0000",
        "Sat, 01 Jan 0101 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
def test_what_is_no_date_of_http(value: str | None) -> None:
    """It tells nothing."""
    assert read_date(value) is None
