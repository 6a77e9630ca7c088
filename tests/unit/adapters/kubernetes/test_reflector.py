"""One list and one watch, for ever: what is asked, what is passed on, what does not end it."""

import json
import logging
from collections.abc import Iterator

import pytest
import urllib3

from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.reflector import PAGE
from prefect.agent.domain.errors import PlatformUnavailable
from support.kubernetes.follower import Follower, page
from support.kubernetes_objects import Object, a_job_object
from support.waiting import wait_until


@pytest.fixture
def follower() -> Iterator[Follower]:
    """Not started yet."""
    follower = Follower()
    yield follower
    for _ in range(10):  # it may wait for one, and again until it is told to end
        follower.cluster.lists["/jobs"].put(StatusError(500, {}))
    if follower.reflector is not None:
        follower.reflector.close()


def line(kind: str, name: str = "unit", version: int = 1) -> bytes:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": a_job_object(name, version=version)}).encode()


def test_pages(follower: Follower) -> None:
    """All pages are one list; the watch begins at its version."""
    follower.cluster.lists["/jobs"].put(page("a", "b", rest="more"))
    follower.cluster.lists["/jobs"].put(page("c"))
    reflector = follower.start()
    wait_until(follower.watches, 30, "it watches")
    assert follower.lists == [(["a", "b", "c"], 5)]
    assert [each.get("continue") for each in follower.cluster.asked] == [None, "more", None]
    assert follower.cluster.asked[0]["limit"] == PAGE
    (watch,) = follower.watches()
    assert (watch["resourceVersion"], watch["allowWatchBookmarks"], watch["labelSelector"]) == ("5", "true", "a")
    assert 300 <= watch["timeoutSeconds"] <= 600
    assert (reflector.problem, len(follower.news)) == (None, 1)


def test_it_goes_on_from_the_last_version_heard_of(follower: Follower, caplog: pytest.LogCaptureFixture) -> None:
    """Of an event or a bookmark, even if the watch is cut in the middle; that is nothing to tell."""
    follower.cluster.lists["/jobs"].put(page())
    follower.cluster.watches.put(
        [line("ADDED", version=7), line("BOOKMARK", version=9), urllib3.exceptions.HTTPError()]
    )
    follower.start()
    wait_until(lambda: len(follower.watches()) == 2, 30, "it watches again")
    assert [each["resourceVersion"] for each in follower.watches()] == ["5", "9"]
    assert follower.events == [("ADDED", "unit")]
    assert caplog.records == []


def test_a_bug_in_taking_one_event(follower: Follower, caplog: pytest.LogCaptureFixture) -> None:
    """Costs this event and is told; the watch goes on."""
    follower.cluster.lists["/jobs"].put(page())
    follower.cluster.watches.put([line("ADDED", "bug", 6), line("DELETED", "unit", 7)])
    follower.start()
    wait_until(lambda: len(follower.events) == 2, 30, "both are passed on")
    assert [record.getMessage() for record in caplog.records] == ["Bug: one event of jobs could not be taken"]
    assert len(follower.lists) == 1


@pytest.mark.parametrize(
    "problem",
    [
        StatusError(500, {}),
        StatusError(429, {}, retry_after=0.1),
        urllib3.exceptions.HTTPError("cut"),
        ConnectionResetError(),
        KeyError("a bug"),
    ],
    ids=repr,
)
def test_lists_that_fail(follower: Follower, problem: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """The trouble is there for whoever asks, told once, and over with the next list."""
    follower.cluster.lists["/jobs"].put(problem)
    follower.cluster.lists["/jobs"].put(problem)
    reflector = follower.start()
    wait_until(lambda: len(follower.news) == 2, 30, "it has failed twice")
    assert isinstance(reflector.problem, PlatformUnavailable)
    assert reflector.heard_at is None
    follower.cluster.lists["/jobs"].put(page("a"))
    wait_until(lambda: follower.lists, 30, "it is listed")
    wait_until(lambda: reflector.problem is None, 30, "there is no trouble")
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1


def error(**status: object) -> list[bytes]:
    """A watch that ends with an error."""
    return [json.dumps({"type": "ERROR", "object": {"message": "too old", **status}}).encode()]


@pytest.mark.parametrize("status", [{"code": 410}, {"code": 500, "reason": "Expired"}, {"reason": "Gone"}])
def test_a_version_that_is_too_old(follower: Follower, status: Object, caplog: pytest.LogCaptureFixture) -> None:
    """Is no trouble, whoever says it how: there is a fresh list at once."""
    follower.cluster.lists["/jobs"].put(page("a"))
    follower.cluster.watches.put(error(**status))
    follower.cluster.lists["/jobs"].put(page("b"))
    follower.start()
    wait_until(lambda: len(follower.lists) == 2, 30, "it is listed again")
    assert caplog.records == []


@pytest.mark.parametrize("code", [500, "410", None, [1]])
def test_an_error_in_a_watch(follower: Follower, code: object, caplog: pytest.LogCaptureFixture) -> None:
    """Any other is told, even if it makes no sense, and the watch begins where it was."""
    follower.cluster.lists["/jobs"].put(page("a"))
    follower.cluster.watches.put(error(code=code))
    follower.start()
    wait_until(lambda: len(follower.watches()) == 2, 30, "it is watched again")
    assert [each["resourceVersion"] for each in follower.watches()] == ["5", "5"]
    said = "the Kubernetes API server could not watch jobs: too old (HTTP 500)"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_closing(follower: Follower) -> None:
    """Ends the thread at once, in the middle of a watch."""
    follower.cluster.lists["/jobs"].put(page())
    reflector = follower.start()
    wait_until(follower.watches, 30, "it watches")
    reflector.close()
    wait_until(lambda: not reflector._thread.is_alive(), 30, "it ends")
