"""Addresses that cannot work are refused before anything is sent, by the name of their setting."""

import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.runtime.exits import ExitCode, exit_for
from prefect.agent.entrypoints.settings.addresses import check_address
from prefect.agent.entrypoints.settings.configuration import Configuration, connection


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1]:4200",
        "http://[fe80::1%25eth0]:4200",
        "http://bücher.example",
        "http://xn--bcher-kva.example:8080",
        "https://prefect.example.com./graphql",
        "http://prefect_server:4200",
        "HTTP://h",
        "http://0x7f.1:1",
        "http://u:p%40ss^|{}@h:1/x",
    ],
)
def test_an_address_that_can_work_is_taken_as_it_is(address: str) -> None:
    """Ports, paths, brackets, names of other scripts, names and passwords."""
    assert check_address(f"{address}/", "x") == address


@pytest.mark.parametrize(
    "address",
    [
        "http://h:99999",
        "http://h:0",
        "http://h:-1",
        "http://h:x",
        "http://",
        "http:///x",
        "http://:4200",
        "http://u:s3cr3t@:4200",
        "http://u:s3cr3t@a..b",
        "http://h :1",
        "http:// h",
        "http://h/a b",
        "http://h\\x",
        "http://h\nx",
        "http://::1:4200",
        "http://[::1",
        "http://[x]:1",
        "http://a..b",
        "http://.h",
        "http://-a.test",
        "http://*",
        "http://$NOWHERE",
        f"http://{'a' * 64}.test",
        f"http://{'ü' * 64}.test",
        f"http://{'a.' * 127}test",
        "https://https://h",
        "http:/h",
        "ftp://h",
        "file:///h",
    ],
)
def test_an_address_that_cannot_work_is_refused_by_name(address: str) -> None:
    """With 78: no restart helps. The address is shown without its password."""
    with pytest.raises(ConfigurationError, match=r"PREFECT__CLOUD__API\) is .* write it like https://") as problem:
        connection(Configuration({"PREFECT__CLOUD__API": address, "PREFECT__BACKEND": "server"}, {}))

    assert exit_for(problem.value).code is ExitCode.CONFIGURATION
    assert "\n" not in str(problem.value)
    assert "s3cr3t" not in str(problem.value)


@pytest.mark.parametrize(
    ("environ", "api", "source"),
    [
        ({}, "ftp://h", "^--api is"),
        ({"PREFECT__SERVER__ENDPOINT": "ftp://h"}, None, r"server\.endpoint \(PREFECT__SERVER__ENDPOINT\) is"),
        ({"PREFECT__SERVER__HOST": "ftp://h"}, None, r"server\.host and server\.port is"),
        ({"PREFECT__BACKEND": "cloud", "PREFECT__CLOUD__ENDPOINT": "ftp://h"}, None, "PREFECT__CLOUD__ENDPOINT"),
    ],
)
def test_the_place_of_a_wrong_address_is_named(environ: dict[str, str], api: str | None, source: str) -> None:
    """An option, a setting, or the two settings that make it."""
    with pytest.raises(ConfigurationError, match=source):
        connection(Configuration({"PREFECT__BACKEND": "server", **environ}, {}), api=api)


@pytest.mark.parametrize("address", ["h", "localhost:4200", "prefect.example/graphql", "127.0.0.1:4200"])
def test_an_address_without_a_scheme_is_answered_with_one(address: str) -> None:
    """What to write is in the message."""
    with pytest.raises(ConfigurationError, match=f"write http://{address} or https://{address}"):
        check_address(address, "--api")
