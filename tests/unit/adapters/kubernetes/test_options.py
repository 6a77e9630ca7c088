"""The platform from what a person typed."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from prefect.agent.adapters.kubernetes import KubernetesPlatform, factory
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.run_configs import KubernetesRun


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A kubeconfig; nobody is asked."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        "{clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], users: [],"
        " contexts: [{name: x, context: {cluster: c, user: ''}}], current-context: x}"
    )
    return str(path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"namespace": "metrics", "image_pull_secrets": "a, b,", "image_pull_policy": "Always"},
        {"image_pull_secrets": ["a"], "job_security": "none", "job_ttl": None, "api_key_secret": "own/key"},
        {"without": ["logs", "events"], "cluster_wide": True, "qps": 1, "burst": 1},
    ],
)
def test_options(config: str, options: dict[str, Any]) -> None:
    """Make a platform, without asking anybody."""
    platform = factory(kubeconfig=config, **options)
    assert isinstance(platform, KubernetesPlatform)
    assert (platform.traits.kind, platform.traits.run_config) == ("kubernetes", KubernetesRun)
    platform.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"namespace": "No_Such"}, "'No_Such' cannot be a namespace"),
        ({"image_pull_policy": "Sometimes"}, "'Sometimes'; set it to one of Always, IfNotPresent, Never"),
        ({"job_security": "some"}, "'some'; set it to restricted or none"),
        ({"without": ["run"]}, "there is no feature run to switch off"),
        ({"without": ["lgos"]}, "there is no feature lgos to switch off; choose from clean-up"),
        ({"api_key_secret": "/key"}, "'/key' names no Secret"),
        ({"qps": 0}, "lets nothing through"),
        ({"kubeconfig": "/no/such/file"}, "cannot find the Kubernetes cluster"),
        ({"job_template_path": "/no/such/file"}, "job template path cannot be used: /no/such/file"),
        ({"volumes": [{"name": "v", "x": object()}]}, "no flow run can use the agent's job template"),
    ],
)
def test_options_that_make_no_sense(config: str, options: dict[str, Any], words: str) -> None:
    """Are told before the first flow run."""
    with pytest.raises(ConfigurationError, match=words):
        factory(**{"kubeconfig": config, **options})


def test_an_option_that_there_is_not(config: str) -> None:
    """Is a mistake of whoever wires."""
    with pytest.raises(TypeError, match="no option colour"):
        factory(kubeconfig=config, colour="red")


class TestFingerprint:
    """What shapes Jobs, as a text to compare."""

    CHANGES: ClassVar[list[dict[str, Any]]] = [
        {"namespace": "metrics"},
        {"cluster_wide": True},
        {"service_account_name": "jobs"},
        {"image_pull_secrets": "a"},
        {"image_pull_secrets": "a,b"},
        {"image_pull_policy": "Always"},
        {"job_cpu_request": "1"},
        {"job_cpu_limit": "1"},
        {"job_mem_request": "1Gi"},
        {"job_mem_limit": "1Gi"},
        {"volumes": [{"name": "v", "emptyDir": {}}]},
        {"volume_mounts": [{"name": "v", "mountPath": "/v"}]},
        {"api_key_secret": "own/key"},
        {"job_security": "none"},
        {"job_ttl": None},
    ]

    def made(self, config: str, **options: Any) -> str:
        """Of a platform with these options."""
        platform = factory(kubeconfig=config, **options)
        platform.close()
        return platform.fingerprint

    def test_every_option_that_shapes_units_changes_it(self, config: str) -> None:
        """So that no two agents with other options take over each other's claims."""
        assert len({self.made(config, **changes) for changes in [{}, *self.CHANGES]}) == len(self.CHANGES) + 1

    @pytest.mark.parametrize("options", [{"qps": 5}, {"burst": 7}, {"start_trouble": 1}, {"without": ["logs"]}])
    def test_nothing_else_does(self, config: str, options: dict[str, Any]) -> None:
        """How the agent works is its own affair."""
        assert self.made(config, **options) == self.made(config)

    def test_the_contents_of_the_template_count(self, config: str, tmp_path: Path) -> None:
        """Not where they are, nor how they are written; and they are not shown."""
        one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
        one.write_text("kind: Job\nmetadata: {annotations: {a: s3cr3t, b: c}}\n")
        two.write_text('metadata:\n  annotations:\n    b: "c"\n    a: s3cr3t\nkind: Job\n')
        found = self.made(config, job_template_path=str(one))
        assert found == self.made(config, job_template_path=str(two))
        assert found != self.made(config)
        assert "s3cr3t" not in found
        two.write_text("kind: Job\nmetadata: {annotations: {a: other, b: c}}\n")
        assert found != self.made(config, job_template_path=str(two))


def test_a_platform_in_a_pod_has_a_presence(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variables that the install command's Deployment sets; without them it has none."""
    variables = {"POD_NAMESPACE": "metrics", "POD_NAME": "agent-1", "POD_UID": "u-1"}
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    assert factory(kubeconfig=config).presence is None
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    presence = factory(kubeconfig=config).presence
    assert presence is not None
    assert presence.place.startswith("pod:metrics/agent-1/u-1/")
