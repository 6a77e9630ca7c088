"""The platform from what a person typed."""

from pathlib import Path
from typing import Any

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
        ({"image_pull_policy": "Sometimes"}, "'Sometimes'; it can be Always, IfNotPresent, Never"),
        ({"job_security": "some"}, "'some'; it can be restricted or none"),
        ({"without": ["run"]}, "there is no feature run to do without"),
        ({"without": ["lgos"]}, "there is no feature lgos to do without; there are clean-up"),
        ({"api_key_secret": "/key"}, "'/key' names no Secret"),
        ({"qps": 0}, "lets nothing through"),
        ({"kubeconfig": "/no/such/file"}, "cannot tell where the Kubernetes cluster is"),
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
