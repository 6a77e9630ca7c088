"""Which options of the Docker adapter shape containers: agents that differ in one do not take over claims."""

from typing import Any, ClassVar

import pytest

from prefect.agent.adapters.docker import factory


class TestFingerprint:
    """What shapes containers, as a text to compare."""

    CHANGES: ClassVar[list[dict[str, Any]]] = [
        {"networks": ["a"]},
        {"networks": ["b", "a"]},
        {"volumes": ["/a:/b"]},
        {"volumes": ["/a:/b:ro"]},
        {"no_pull": True},
        {"reg_allow_list": ["a.test"]},
    ]

    def test_every_option_that_shapes_units_changes_it(self) -> None:
        """So that no two agents with other options take over each other's claims."""
        found = {factory(**changes).fingerprint for changes in [{}, *self.CHANGES, {"networks": ["a", "b"]}]}
        assert len(found) == len(self.CHANGES) + 2

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {"show_flow_logs": True}),
            ({}, {"docker_client_timeout": 5}),
            ({}, {"base_url": "tcp://127.0.0.1:1"}),
            ({"reg_allow_list": ["a", "b"]}, {"reg_allow_list": ["b", "a", "b"]}),
            ({"volumes": ["/a:/b", "/c"]}, {"volumes": ["/c:/c:rw", "/a:/b"]}),
        ],
    )
    def test_nothing_else_does(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        """Where the engine is belongs to the identity."""
        assert factory(**one).fingerprint == factory(**other).fingerprint

    def test_it_shows_nothing(self) -> None:
        """It goes to the Cloud."""
        found = factory(volumes=["/payroll:/data"], networks=["internal"], reg_allow_list=["registry.corp"]).fingerprint
        assert found.isascii()
        assert not any(word in found for word in ("payroll", "internal", "corp"))
