"""Any JSON where Docker's configuration, or a run's host config, should be."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import example, given
from hypothesis import strategies as st

from prefect.agent.adapters.docker import credentials
from prefect.agent.adapters.docker.merging import merged

REGISTRY = "registry.test"
WORDS = (
    "auths", "credsStore", "credHelpers", "proxies", "HttpHeaders", "default", "httpProxy", "auth", "identitytoken",
    "username", "password", "bWU6cHc=", "desktop", REGISTRY, "https://registry.test/v1/", "other.test", "",
)  # fmt: skip
KEYS = ("extra_hosts", "binds", "mounts", "tmpfs", "devices", "ulimits", "sysctls", "log_config", "dns", "init")
TEXTS = st.sampled_from((*WORDS, *KEYS, "a:b", "/a:/b:ro", "Name", "Target", "type", "config")) | st.text(max_size=5)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
OWN = {
    "extra_hosts": {"host.docker.internal": "host-gateway"},
    "binds": ["/a:/b:rw"],
    "mounts": [{"Target": "/m"}],
    "tmpfs": {"/t": ""},
    "devices": ["/dev/a"],
    "ulimits": [{"Name": "nofile"}],
    "sysctls": {"a": "1"},
    "log_config": {"type": "json-file", "config": {}},
    "dns": ["10.0.0.1"],
}


@given(ANY | st.dictionaries(st.sampled_from(WORDS), ANY) | st.binary())
def test_any_configuration_of_docker_can_be_read(content: Any) -> None:
    """It gives a login or none, and nothing that the SDK stumbles on."""
    with tempfile.TemporaryDirectory() as folder:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (Path(folder) / "config.json").write_bytes(raw)
        with mock.patch.dict(os.environ, {"DOCKER_CONFIG": folder, "PATH": folder}):
            login = credentials.login(REGISTRY)
            general = credentials.general()
    assert login.header is None or not login.problem
    assert all(isinstance(text, str) for names in general["proxies"].values() for text in names.values())


@given(st.dictionaries(st.sampled_from(KEYS), ANY))
@example({"log_config": {"config": 1}})
def test_any_host_config_can_be_merged(run: dict[str, Any]) -> None:
    """What makes no sense stays, to be refused by its name."""
    assert merged(OWN, run).keys() >= run.keys()
