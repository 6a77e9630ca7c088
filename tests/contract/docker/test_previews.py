"""What a preview says of a container, compared with what a real engine is asked for and with what it makes."""

from collections.abc import Callable
from typing import Any

import pytest
from docker.api.client import APIClient

from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.run_configs import DockerRun
from support.docker_harness import DockerHarness, ended

pytestmark = pytest.mark.docker


def test_the_engine_is_asked_for_what_the_preview_says(harness: DockerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole body of the create request, with volumes, ports, limits and addresses; the engine then made it so."""
    asked: list[tuple[dict[str, Any], str]] = []
    send: Callable[..., Any] = APIClient.create_container_from_config

    def recorded(client: APIClient, config: dict[str, Any], name: str, *more: Any) -> Any:
        asked.append(({key: value for key, value in config.items() if value is not None}, name))
        return send(client, config, name, *more)

    monkeypatch.setattr(APIClient, "create_container_from_config", recorded)
    submission = harness.submission(
        "exit 0",
        env={"PLAIN": "a=b c", "API": "http://localhost:4200/x"},
        secret_env={"KEY": "s3cret"},
        address_variables=frozenset({"API"}),
        flow_name="a flow",
        run_config=DockerRun(ports=(8080,), host_config={"mem_limit": "64m", "auto_remove": True}),
    )
    platform = harness.platform(volumes=["/tmp:/data:ro"])

    (preview,) = platform.preview(submission)
    assert not harness.exists(submission.name)
    ended(platform, submission)

    assert asked == [(preview["create"], preview["name"])]
    about, body = harness.about(submission.name), preview["create"]
    assert set(body["Env"]) <= set(about["Config"]["Env"])
    assert about["Config"]["Cmd"] == body["Cmd"]
    assert body["Labels"].items() <= about["Config"]["Labels"].items()
    assert {name: about["HostConfig"][name] for name in body["HostConfig"]} == body["HostConfig"]


def test_a_preview_refuses_what_a_create_refuses(harness: DockerHarness) -> None:
    """With the same sentence."""
    submission = harness.submission(run_config=DockerRun(host_config={"restart_policy": {"Name": "always"}}))
    platform = harness.platform()

    with pytest.raises(SubmissionRefused) as previewed:
        platform.preview(submission)
    with pytest.raises(SubmissionRefused) as created:
        platform.create(submission)

    assert str(previewed.value) == str(created.value)
