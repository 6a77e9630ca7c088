"""The Docker adapter without an engine: addresses, host config, errors, what the engine's words mean."""

import gc
import socket
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import requests
from docker.api.client import APIClient
from docker.errors import APIError, DockerException

from prefect.agent.adapters.docker import containers, errors, factory
from prefect.agent.adapters.docker import units as reading
from prefect.agent.adapters.docker.volumes import parse_volumes
from prefect.agent.domain.errors import (
    ConfigurationError,
    PlatformForbidden,
    PlatformUnavailable,
    SubmissionRefused,
    wait_kind_of,
)
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.run_configs import DockerRun
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import UnitStatus
from prefect.agent.domain.wait_kinds import WaitKind


def a_submission(
    *, host_config: dict[str, Any] | None = None, env: dict[str, str] | None = None, addresses: tuple[str, ...] = ()
) -> Submission:
    """A submission for Docker."""
    base = Submission(name="prefect-x-1", flow_run_id=FlowRunId("x"), attempt="1", command=("true",), image="image")
    config = DockerRun(host_config=host_config or {})
    base = attrs.evolve(base, secret_env={"KEY": "secret"}, address_variables=frozenset(addresses))
    return attrs.evolve(base, run_config=config, env=env or {})


class TestAddresses:
    """The Cloud's address as a container sees it."""

    @pytest.mark.parametrize(
        ("outside", "inside"),
        [
            ("http://localhost:4200", "http://host.docker.internal:4200"),
            ("http://LOCALHOST/graphql", "http://host.docker.internal/graphql"),
            ("https://127.0.0.1:8080/a/b?c=d#e", "https://host.docker.internal:8080/a/b?c=d#e"),
            ("http://127.8.9.10", "http://host.docker.internal"),
            ("http://[::1]:4200/", "http://host.docker.internal:4200/"),
            ("http://me:pw@localhost:1", "http://me:pw@host.docker.internal:1"),
            ("http://0.0.0.0:4200", "http://host.docker.internal:4200"),
            ("http://[::]:4200/graphql", "http://host.docker.internal:4200/graphql"),
            ("http://[::ffff:127.0.0.1]:4200", "http://host.docker.internal:4200"),
            ("http://localhost.localdomain:4200", "http://host.docker.internal:4200"),
            ("http://ip6-localhost:4200", "http://host.docker.internal:4200"),
            ("http://prefect.localhost.:4200", "http://host.docker.internal:4200"),
            ("http://127.1:4200", "http://host.docker.internal:4200"),
            ("http://0:4200", "http://host.docker.internal:4200"),
            ("http://0.0:4200", "http://host.docker.internal:4200"),
            ("http://2130706433:4200", "http://host.docker.internal:4200"),
            ("http://0x7f000001:4200", "http://host.docker.internal:4200"),
            ("http://0177.0.0.1:4200", "http://host.docker.internal:4200"),
            ("http://127.000.000.001:4200", "http://host.docker.internal:4200"),
        ],
    )
    def test_loopback_becomes_the_host(self, outside: str, inside: str) -> None:
        """Everything but the host stays."""
        assert containers.from_inside(outside) == inside

    @pytest.mark.parametrize(
        "url",
        [
            "https://a.b",
            "http://10.0.0.1:1",
            "http://localhost.x:1",
            "http://mylocalhost:1",
            "http://128.0.0.1:1",
            "http://10.1:1",
            "http://167772161:1",
            "http://0x0a000001:1",
            "http://feed:1",
            "localhost:1",
            "",
            "http://[",
            "http://localhost:x",
        ],
    )
    def test_everything_else_stays(self, url: str) -> None:
        """Other hosts, and what is no address at all."""
        assert containers.from_inside(url) == url

    def test_only_named_variables_are_rewritten(self) -> None:
        """Whoever set another variable meant it."""
        url = "http://localhost:4200"
        submission = a_submission(env={"API": url, "MINE": url}, addresses=("API", "GONE"))
        expected = {"API": "http://host.docker.internal:4200", "MINE": url, "KEY": "secret"}
        assert containers.environment(submission, "bridge") == expected
        assert containers.environment(submission, "host") == {"API": url, "MINE": url, "KEY": "secret"}


class TestHostConfig:
    """What the engine is told about the container's surroundings."""

    def options(self, networks: tuple[str, ...] = (), **host_config: Any) -> dict[str, Any]:
        """Of an agent with a volume, on a recent engine."""
        submission = a_submission(host_config=host_config)
        volumes = parse_volumes(["/a:/b"], windows=False)
        return containers.options(submission, volumes=volumes, networks=networks, has_gateway=True)

    def test_the_agents_own(self) -> None:
        """Volumes and the way to the host."""
        assert self.options() == {"binds": ["/a:/b:rw"], "extra_hosts": {"host.docker.internal": "host-gateway"}}
        # Engines before 20.10 would refuse the gateway.
        assert containers.options(a_submission(), volumes=(), networks=(), has_gateway=False) == {}

    def test_the_run_config_overrides_name_by_name(self) -> None:
        """What it names replaces the agent's, the rest stays."""
        hosts = ["a:1.2.3.4", "host.docker.internal:host-gateway"]
        options = self.options(extra_hosts={"a": "1.2.3.4"}, mem_limit="1g")
        assert options == {"binds": ["/a:/b:rw"], "extra_hosts": hosts, "mem_limit": "1g"}

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"nope": 1}, "'nope' is not valid for Docker: there is no such key"),
            ({"Binds": ["/x:/y"]}, "'Binds' is not valid for Docker: there is no such key"),
            ({"binds": "/x:/y"}, "'binds' is not valid for Docker: its value does not have the form"),
            ({"binds": {"/x": {}}}, "'binds' is not valid for Docker: its value does not have the form"),
            ({"ulimits": {"nofile": 1}}, "'ulimits' .* expected list but found dict"),
        ],
    )
    def test_a_refused_key_is_explained_without_types_of_the_sdk(self, given: dict[str, Any], words: str) -> None:
        """The author of the flow reads it, who never saw the SDK's classes."""
        with pytest.raises(SubmissionRefused, match=words) as refusal:
            containers.host_config(APIClient(version="1.43").create_host_config, given)
        assert "HostConfig" not in str(refusal.value)
        assert "object has no" not in str(refusal.value)

    @pytest.mark.parametrize("key", ["auto_remove", "AutoRemove"])
    def test_containers_are_never_removed_by_the_engine(self, key: str) -> None:
        """Their exit code is needed."""
        assert key not in self.options((), **{key: True})

    def test_a_restart_policy_is_refused(self) -> None:
        """A flow run is started once; no policy is fine."""
        with pytest.raises(SubmissionRefused, match="restart_policy"):
            self.options(restart_policy={"Name": "always"})
        assert self.options(restart_policy={"Name": "no"})["restart_policy"] == {"Name": "no"}

    @pytest.mark.parametrize(
        "wanted",
        [
            {"NAME": "always"},
            {"Name": None, "name": "always"},
            {"Name": "no", "nAme": "unless-stopped"},
            {"Name": ["always"]},
        ],
    )
    def test_a_restart_policy_is_refused_in_every_spelling(self, wanted: dict[str, Any]) -> None:
        """The engine reads names of fields in any case, and takes the last of several."""
        with pytest.raises(SubmissionRefused, match="restart_policy"):
            self.options(restart_policy=wanted)

    @pytest.mark.parametrize(
        ("networks", "asked", "mode", "joined"),
        [
            ((), None, None, []),
            (("a", "b"), None, "a", ["b"]),
            (("a", "b"), "b", "b", ["a"]),
            (("a", "b", "a"), "bridge", "bridge", ["a", "b"]),
            (("host",), None, "host", []),
            (("none", "a"), None, "none", []),
            (("a", "host"), None, "a", []),
            (("host", "a"), "bridge", "bridge", ["a"]),
            (("a",), "container:x", "container:x", []),
        ],
    )
    def test_networks(self, networks: tuple[str, ...], asked: str | None, mode: str | None, joined: list[str]) -> None:
        """The first network is the container's own unless the run config says otherwise."""
        options = self.options(networks, network_mode=asked)
        assert options.get("network_mode") == mode
        assert containers.joins(networks, mode or "") == joined
        assert ("extra_hosts" in options) is (mode not in {"host", "container:x"})

    @pytest.mark.parametrize(
        ("key", "value"),
        [("Memory", 1), ("mem_limit", "lots"), ("mem_limit", [1]), ("binds", 7), ("ulimits", [3]), ("version", "1")],
    )
    def test_nonsense_is_refused_by_its_key(self, key: str, value: object) -> None:
        """The message names the key, whatever the SDK raises."""
        make = APIClient(version="1.41").create_host_config
        with pytest.raises(SubmissionRefused, match=f"'{key}'"):
            containers.host_config(make, {"network_mode": "bridge", key: value})
        # Keys that do not go together: there is no single one to name.
        with pytest.raises(SubmissionRefused, match="port_bindings"):
            containers.host_config(make, {"network_mode": "host", "port_bindings": {80: 80}})


def an_api_error(status: int, said: str) -> APIError:
    """What the SDK raises for an answer of the engine."""
    response = requests.Response()
    response.status_code = status
    return APIError("error", response=response, explanation=said)


def raised_by_sdk(cause: OSError) -> DockerException:
    """What the SDK raises when it cannot connect."""
    try:
        try:
            raise requests.ConnectionError(("Connection aborted.", cause)) from cause
        except requests.ConnectionError as problem:
            raise DockerException(f"Error while fetching server API version: {problem}") from problem
    except DockerException as problem:
        return problem


class TestErrors:
    """Vendor's errors in the port's words."""

    @pytest.mark.parametrize(
        ("problem", "kind", "message"),
        [
            (raised_by_sdk(PermissionError(13, "Permission denied")), PlatformForbidden, "group"),
            (
                raised_by_sdk(FileNotFoundError(2, "No such file")),
                PlatformUnavailable,
                r"answers at ADDR \(No such file",
            ),
            (requests.ConnectionError(ConnectionRefusedError(111, "refused")), PlatformUnavailable, "DOCKER_HOST"),
            (requests.ReadTimeout("slow"), PlatformUnavailable, "in time to DO"),
            (an_api_error(403, "denied by plugin"), PlatformForbidden, "DO: denied by plugin"),
            (an_api_error(500, "oops"), PlatformUnavailable, "DO: oops"),
            (an_api_error(400, "bad"), PlatformUnavailable, "bad"),
            (DockerException("Credentials store error"), PlatformUnavailable, "Credentials store"),
        ],
    )
    def test_in_general(self, problem: Exception, kind: type[Exception], message: str) -> None:
        """Nothing but permissions needs a person."""
        with pytest.raises(kind, match=message):
            raise errors.translate(problem, address="ADDR", doing="DO")

    @pytest.mark.parametrize(
        ("status", "said", "at_create", "at_start"),
        [
            (400, "invalid mount config", SubmissionRefused, SubmissionRefused),
            (404, "network nonet not found", SubmissionRefused, SubmissionRefused),
            (500, "driver failed: port is already allocated", PlatformUnavailable, SubmissionRefused),
            (500, "mkdir /x: no space left on device", PlatformUnavailable, PlatformUnavailable),
            (400, "OCI runtime create failed: Cannot allocate memory", PlatformUnavailable, PlatformUnavailable),
            (404, "No such container: 123", PlatformUnavailable, PlatformUnavailable),
            (503, "busy", PlatformUnavailable, PlatformUnavailable),
            (401, "who are you", PlatformForbidden, PlatformForbidden),
        ],
    )
    def test_of_a_submission(
        self, status: int, said: str, at_create: type[Exception], at_start: type[Exception]
    ) -> None:
        """The run is to blame for what the engine refuses, unless it is for want of something that comes back."""
        problem = an_api_error(status, said)
        made = errors.translate_submission(problem, address="ADDR", doing="DO")
        started = errors.translate_start(problem, address="ADDR", doing="DO")
        assert (type(made), type(started)) == (at_create, at_start)
        assert said in str(made)
        assert said in str(started)

    @pytest.mark.parametrize(
        ("status", "said", "kind"),
        [
            (404, "manifest for x/y:1 not found: manifest unknown: manifest unknown", SubmissionRefused),
            (
                404,
                "pull access denied for x/y, repository does not exist or may require 'docker login'",
                SubmissionRefused,
            ),
            (400, "invalid reference format", SubmissionRefused),
            (500, "unauthorized: authentication required", SubmissionRefused),
            (500, "no matching manifest for linux/amd64 in the manifest list entries", SubmissionRefused),
            (500, "Get https://x/v2/: dial tcp: lookup x: no such host", PlatformUnavailable),
            (500, "toomanyrequests: You have reached your pull rate limit", PlatformUnavailable),
            (500, "net/http: TLS handshake timeout", PlatformUnavailable),
            (500, "received unexpected HTTP status: 503 Service Unavailable", PlatformUnavailable),
            (500, "something nobody has seen", PlatformUnavailable),
        ],
    )
    def test_of_a_pull(self, status: int, said: str, kind: type[Exception]) -> None:
        """An image that is not there will not come; a registry in trouble will recover."""
        problem = errors.pull_problem("x/y:1", said, status=status)
        assert type(problem) is kind
        assert (wait_kind_of(problem) is WaitKind.IMAGE) is (kind is PlatformUnavailable)
        assert "'x/y:1'" in str(problem)
        assert said in str(problem)


class TestReading:
    """Units from the engine's words."""

    LABELS: ClassVar = {"io.prefect.agent.unit": "u-1", "io.prefect.agent.attempt": "2", "io.prefect.flow-run-id": "r"}

    def entry(self, **changes: Any) -> dict[str, Any]:
        """An entry of the list."""
        entry = {
            "Id": "abc" * 20,
            "Names": ["/u-1"],
            "Labels": self.LABELS,
            "State": "running",
            "Created": 1_700_000_000,
        }
        return {**entry, **changes}

    @pytest.mark.parametrize(
        ("state", "status"),
        [
            ("created", UnitStatus.CREATED),
            ("running", UnitStatus.RUNNING),
            ("paused", UnitStatus.RUNNING),
            ("restarting", UnitStatus.RUNNING),
            ("a new word", UnitStatus.RUNNING),
        ],
    )
    def test_a_list_entry(self, state: str, status: UnitStatus) -> None:
        """What has not ended is complete in the list. A state nobody knows is not taken for an end."""
        unit = reading.listed(self.entry(State=state))
        assert unit is not None
        assert (unit.name, unit.flow_run_id, unit.attempt, unit.status) == ("u-1", "r", "2", status)
        assert unit.created_at == datetime.fromtimestamp(1_700_000_000, timezone.utc)
        assert unit.info == "Container ID: abcabcabcabc"

    @pytest.mark.parametrize("changes", [{"Labels": None}, {"Labels": {}}, {"Names": ["/other"]}, {"Names": None}])
    def test_foreign_entries(self, changes: dict[str, Any]) -> None:
        """No mark, or a mark inherited from an image that was made of a unit: not ours."""
        assert reading.listed(self.entry(**changes)) is None

    @pytest.mark.parametrize(
        ("state", "limit", "text"),
        [
            ({"ExitCode": 0, "OOMKilled": True}, 0, "exit code 0"),
            ({"ExitCode": 3}, 0, "Error, exit code 3"),
            ({"ExitCode": 137}, 0, "Killed, ended by signal 9, exit code 137"),
            ({"ExitCode": 255, "Error": "lost"}, 0, "Error, lost, exit code 255"),
            (
                {"ExitCode": 137, "OOMKilled": True},
                2**24,
                "OOMKilled, out of memory, the limit is 16 MiB, exit code 137",
            ),
            ({"ExitCode": 1, "OOMKilled": True}, 0, "OOMKilled, the engine's machine ran out of memory, exit code 1"),
        ],
    )
    def test_evidence(self, state: dict[str, Any], limit: int, text: str) -> None:
        """How it ended, in words."""
        assert str(reading.evidence(state, {"Memory": limit})) == text


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


class TestFactory:
    """Options, and engines that are not there."""

    def test_unknown_options_are_refused(self) -> None:
        """All at once."""
        with pytest.raises(TypeError, match="a, b"):
            factory(b=1, a=2, no_pull=True)

    @pytest.mark.parametrize(
        "options",
        [{"base_url": "nonsense://x"}, {"base_url": "tcp://h:port"}, {"volumes": ["x"]}, {"docker_client_timeout": 0}],
    )
    def test_nonsense_is_refused_before_the_engine_is_asked(self, options: dict[str, Any]) -> None:
        """A person can mend it at once."""
        with pytest.raises(ConfigurationError):
            factory(**options)

    @pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the SDK leaves it to the collector
    def test_no_engine(self, tmp_path: Path) -> None:
        """Every method says where it looked."""
        platform = factory(base_url=f"unix://{tmp_path}/none.sock")
        submission = a_submission()
        calls: list[Callable[[], object]] = [platform.check, platform.units, lambda: platform.identity]
        calls += [lambda: list(platform.watch(seconds=1)), lambda: platform.create(submission)]
        calls += [lambda: platform.unit("u"), lambda: platform.logs_tail("u"), lambda: platform.remove("u")]
        calls += [lambda: platform.stop("u", grace=1)]
        for call in calls:
            with pytest.raises(PlatformUnavailable, match=r"none\.sock"):
                call()
        platform.close()
        gc.collect()

    def test_a_silent_engine(self, silent: str) -> None:
        """It is given up after the timeout."""
        platform = factory(base_url=silent, docker_client_timeout=1)
        with pytest.raises(PlatformUnavailable, match="did not answer in time"):
            platform.check()
        platform.close()
