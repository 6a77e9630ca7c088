"""The scripted server of the tests does what it is said to do."""

import pytest
import requests

from support.stub_cloud import Reply, running_stub, says


def test_the_stub_answers_by_its_script() -> None:
    """What is scripted is answered, and what was asked is kept."""
    with running_stub() as stub:
        stub.answers(says(429, {"Retry-After": "7"}, a=1), says(b=2))
        ask = {"query": "query { hello }", "variables": '{"c": 3}'}

        first = requests.post(stub.url, json=ask, headers={"X-Test": "yes"}, timeout=30)
        second = requests.post(stub.url, json=ask, timeout=30)

        assert (first.status_code, first.headers["Retry-After"], first.json()) == (429, "7", {"a": 1})
        assert (second.status_code, second.json()) == (200, {"b": 2})
        assert (stub.asked[0].query, stub.asked[0].variables) == ("query { hello }", {"c": 3})
        assert stub.asked[0].headers["x-test"] == "yes"


@pytest.mark.parametrize("reply", [Reply(drops=True), Reply(body=b'{"data": ', missing=10)])
def test_the_stub_breaks_off(reply: Reply) -> None:
    """Answers that are dropped or cut off arrive as broken connections."""
    with running_stub(lambda _asked: reply) as stub, pytest.raises(requests.RequestException):
        requests.post(stub.url, json={}, timeout=30)
