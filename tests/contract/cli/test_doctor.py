"""``prefect agent doctor`` against the embedded Cloud and the real platforms: each line, good and bad."""

import uuid
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.doctor_harness import DoctorHarness
from support.http_proxy import HttpProxy
from support.image_registry import image_registry
from support.pki import Pki
from support.stub_cloud import ROW
from support.tls_answers import answering, needs_openssl
from support.tls_server import TlsServer

SECRET: Final = "pcu_SECRET-that-must-never-be-seen"
NOWHERE: Final = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A Cloud without flows."""
    with running_server(tmp_path_factory.mktemp("cloud") / "cloud.db") as url:
        yield url


@pytest.fixture
def harness(url: str, tmp_path: Path) -> DoctorHarness:
    """A home of one's own, and a Cloud that tests do not change."""
    return DoctorHarness(tmp_path, url)


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[DoctorHarness]:
    """A Cloud of one's own."""
    with running_server(tmp_path / "cloud.db") as url:
        yield DoctorHarness(tmp_path, url)


def test_all_is_well(harness: DoctorHarness) -> None:
    """Exit code 0, a line for each check, and nothing is made in the home."""
    before = {*harness.home.rglob("*")}

    done = harness.said("process")

    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert {severity for severity, _ in lines} == {"ok"}
    assert [text.partition(":")[0] for _, text in lines] == [
        "configuration",
        "secrets",
        "state-directory",
        *("proxy", "dns", "tls", "api", "key", "cloud-clock", "claims"),
        "flows",
        "interpreter",
        "units-directory",
        "waiting-runs",
    ]
    assert {*harness.home.rglob("*")} - before == {harness.home / "bin", harness.home / "bin" / "prefect"}


# --- configuration ---


def test_unknown_settings_are_named(harness: DoctorHarness) -> None:
    """Of the file and of the environment, with a suggestion."""
    (harness.home / ".prefect").mkdir()
    text = '[cloud.agent]\nlables = ["vm"]\n[cloud.agent.env_vars]\nX = "1"\n[cloud]\nheartbeat_mode = "thread"\n'
    (harness.home / ".prefect" / "config.toml").write_text(text)

    found = harness.doctor("process", PREFECT_AGENT_LIMITT="3")

    assert found.code == 0
    assert found.all("configuration")[1:] == [
        ("warn", "Cloud.agent.lables is not a setting of the agent: do you mean cloud.agent.labels?"),
        ("warn", "PREFECT_AGENT_LIMITT is not a setting of the agent: do you mean PREFECT_AGENT_LIMIT?"),
    ]


def test_a_file_that_is_not_toml_fails_and_the_rest_is_not_checked(harness: DoctorHarness) -> None:
    """Exit code 78, as at the start of an agent."""
    (harness.home / ".prefect").mkdir()
    (harness.home / ".prefect" / "config.toml").write_text("[cloud")

    found = harness.doctor("process")

    assert found.code == 78
    assert found.one("configuration")[0] == "fail"
    assert found.one("platform") == (
        "unchecked",
        "Not checked, because the check configuration did not succeed.",
    )


def test_a_secret_that_others_can_read_is_named(harness: DoctorHarness) -> None:
    """With the command that mends it; the secret is not shown."""
    key = harness.home / "key"
    key.write_text(SECRET)
    key.chmod(0o644)

    found = harness.doctor("process", "--token-file", str(key))

    assert found.one("secrets")[0] == "warn"
    assert f"chmod go-r {key}" in found.one("secrets")[1]
    assert SECRET not in found.output


def test_a_state_directory_in_which_others_can_write_fails(harness: DoctorHarness) -> None:
    """The agent refuses it, too."""
    state = harness.home / "state"
    state.mkdir()
    state.chmod(0o777)

    found = harness.doctor("process", PREFECT_AGENT_STATE_DIRECTORY=str(state))

    assert found.code == 78
    assert found.one("state-directory")[0] == "fail"


def test_a_state_directory_that_is_a_file_fails(harness: DoctorHarness) -> None:
    """If a person has named it."""
    (harness.home / "state").write_text("")

    found = harness.doctor("process", PREFECT_AGENT_STATE_DIRECTORY=str(harness.home / "state"))

    assert (found.code, found.one("state-directory")[0]) == (78, "fail")


def test_options_of_another_platform_are_refused(harness: DoctorHarness) -> None:
    """As for start."""
    assert harness.said("process", "--base-url", "unix:///x").returncode == 2


# --- the Cloud ---


def test_a_cloud_that_is_away_fails_and_what_needs_it_is_not_checked(harness: DoctorHarness) -> None:
    """Exit code 69; the platform is checked all the same."""
    found = harness.doctor("process", "--api", NOWHERE)

    assert found.code == 69
    assert found.one("api") == ("fail", f"Cannot reach {NOWHERE}: Connection refused")
    names = ("key", "cloud-clock", "claims", "flows", "waiting-runs")
    assert {found.one(name)[0] for name in names} == {"unchecked"}
    assert found.one("interpreter")[0] == "ok"


def test_a_name_that_does_not_resolve_fails(harness: DoctorHarness) -> None:
    """The API is not asked then."""
    found = harness.doctor("process", "--api", "http://no-such-host.invalid:4200")

    assert (found.code, found.one("dns")[0], found.one("api")[0]) == (69, "fail", "unchecked")


def test_a_proxy_that_is_away_fails(harness: DoctorHarness) -> None:
    """Its password is not shown."""
    found = harness.doctor("process", "--api", "https://cloud.test", HTTPS_PROXY=f"http://me:{SECRET}@127.0.0.1:1")

    assert found.code == 69
    assert found.one("proxy")[0] == "fail"
    assert "127.0.0.1:1" in found.one("proxy")[1]
    assert SECRET not in found.output


def test_a_key_that_is_not_accepted_fails(tmp_path: Path) -> None:
    """Exit code 77; that the API answers is said before."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({"another"})) as url:
        found = DoctorHarness(tmp_path, url).doctor("process", PREFECT__CLOUD__API_KEY=SECRET)

    assert (found.code, found.one("api")[0], found.one("key")[0]) == (77, "ok", "fail")
    assert SECRET not in found.output


def test_a_tenant_that_is_not_there_fails(harness: DoctorHarness) -> None:
    """A key may open another one."""
    found = harness.doctor("process", "--tenant-id", str(uuid.uuid4()))

    assert (found.code, found.one("key")[0]) == (78, "fail")


def test_a_cloud_that_does_not_compare_is_named(tmp_path: Path) -> None:
    """As loose about versions as Prefect Server is: a warning; the agent starts."""
    with running_server(tmp_path / "cloud.db", as_loose_as_server=True) as url:
        found = DoctorHarness(tmp_path, url).doctor("process")

    assert (found.code, found.one("claims")[0]) == (0, "warn")


@needs_openssl
class TestTls:
    """A Cloud with a certificate of a private authority, and a clock of its own, that does not compare and set."""

    @pytest.fixture
    def pki(self, tmp_path: Path) -> Pki:
        """The authority."""
        return Pki(tmp_path / "pki", bare=True)

    @pytest.fixture
    def cloud(self, pki: Pki, tmp_path: Path) -> Iterator[DoctorHarness]:
        """The Cloud."""
        tenant = {"id": str(uuid.uuid4()), "name": "t"}

        class Slow(answering(lambda _: {"data": {"tenant": [tenant], "flow": [], "flow_run": [ROW]}})):  # type: ignore[misc]
            def date_time_string(self, timestamp: float | None = None) -> str:
                return "Sat, 01 Jan 2022 00:00:00 GMT"

        with closing(TlsServer(Slow, pki.server("cloud"))) as server:
            yield DoctorHarness(tmp_path, f"https://127.0.0.1:{server.server_address[1]}")

    def test_an_authority_that_is_not_known_fails(self, cloud: DoctorHarness) -> None:
        """With the variable that names it."""
        found = cloud.doctor("process")

        assert (found.code, found.one("tls")[0], found.one("api")[0]) == (69, "fail", "unchecked")
        assert "REQUESTS_CA_BUNDLE" in found.one("tls")[1]

    def test_an_authority_that_is_named(self, cloud: DoctorHarness, pki: Pki) -> None:
        """The certificate is trusted; the clock is years behind; claims are not compared."""
        found = cloud.doctor("process", REQUESTS_CA_BUNDLE=str(pki.authority.certificate))

        assert found.one("tls")[0] == "ok", found.output
        assert found.one("key")[0] == "ok"
        assert found.one("cloud-clock")[0] == "warn"
        assert "behind this machine's" in found.one("cloud-clock")[1]
        assert found.one("claims")[0] == "warn"

    def test_through_a_proxy(self, cloud: DoctorHarness, pki: Pki) -> None:
        """It is named; certificate and API are checked through it."""
        with closing(HttpProxy()) as proxy:
            ca = str(pki.authority.certificate)
            found = cloud.doctor("process", REQUESTS_CA_BUNDLE=ca, HTTPS_PROXY=proxy.url, NO_PROXY="")

        assert [found.one(name)[0] for name in ("proxy", "dns", "tls", "api", "key")] == ["ok"] * 5, found.output
        assert proxy.url in found.one("proxy")[1]
        assert proxy.tunnels


# --- flows and runs ---


def test_flows_that_cannot_run_here_are_named(busy: DoctorHarness) -> None:
    """Of those with the agent's labels: a run config of another platform, and what the policy refuses."""
    busy.flow("mine", type="LocalRun", labels=["vm"])
    busy.flow("other", type="KubernetesRun", labels=["vm"])
    busy.flow("elsewhere", type="KubernetesRun", labels=["gpu"])

    found = busy.doctor("process", "--label", "vm")

    first, second = found.all("flows")
    assert first == ("ok", "Of 2 flows with these labels 1 can run here.")
    assert second[0] == "warn"
    assert second[1].startswith("Runs of other fail here: ")


def test_runs_that_no_agent_takes_are_named(busy: DoctorHarness) -> None:
    """Those that fit are counted; of the others one line for each reason."""
    flow = busy.flow("f")
    for labels in (["vm"], ["gpu"], ["gpu"]):
        busy.mutate("create_flow_run", flow_id=flow, flow_run_name=f"run-{labels[0]}", labels=labels)

    found = busy.doctor("process", "--label", "vm")

    first, second = found.all("waiting-runs")
    assert first == ("ok", "3 flow runs are due; 1 of them fit the agent's labels.")
    assert second == ("warn", "run-gpu, run-gpu: No agent asks this tenant for work.")


def test_names_of_flow_authors_do_nothing_to_a_terminal(busy: DoctorHarness) -> None:
    """Names are whatever people wrote."""
    flow = busy.flow("evil\x1b[2J\nok all is well", type="KubernetesRun")
    busy.mutate("create_flow_run", flow_id=flow, flow_run_name="\x1b[31m\nok", labels=["x"])

    done = busy.said("process")

    assert "\x1b" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith("ok all")]


# --- processes ---


def test_a_machine_without_prefect_fails(harness: DoctorHarness) -> None:
    """Exit code 75."""
    found = harness.doctor("process", PATH="/usr/bin:/bin")

    assert (found.code, found.one("interpreter")[0]) == (75, "fail")


@pytest.mark.parametrize(("prints", "code"), [("1.4.1", 0), ("2.20.1", 75), ("", 75)])
def test_the_version_of_an_interpreter(harness: DoctorHarness, prints: str, code: int) -> None:
    """Flow runs need a Prefect below 2."""
    python = harness.home / "python"
    python.write_text(f"#!/bin/sh\n{f'echo {prints}' if prints else 'exit 1'}\n")
    python.chmod(0o755)

    found = harness.doctor("process", "--interpreter", str(python))

    assert (found.code, found.one("interpreter")[0]) == (code, "fail" if code else "ok")
    assert prints in found.one("interpreter")[1]


def test_an_interpreter_that_is_not_there_fails(harness: DoctorHarness) -> None:
    """Exit code 78: it is a setting; flows are not judged without a platform."""
    found = harness.doctor("process", "--interpreter", "/no/such/python")

    assert (found.code, found.one("platform")[0], found.one("flows")[0]) == (78, "fail", "unchecked")


# --- Docker ---


@pytest.mark.docker
class TestDocker:
    """With a real engine."""

    def test_an_engine_that_answers(self, harness: DoctorHarness, small_image: str) -> None:
        """Its version is shown."""
        found = harness.doctor("docker")

        assert found.code == 0, found.output
        assert {found.one(name)[0] for name in ("engine", "engine-containers", "engine-clock")} == {"ok"}
        assert "Its version is " in found.one("engine")[1]

    def test_an_engine_that_is_away_fails(self, harness: DoctorHarness) -> None:
        """Exit code 75; what needs it is not checked."""
        found = harness.doctor("docker", "--base-url", "tcp://127.0.0.1:1")

        assert (found.code, found.one("engine")[0], found.one("images")[0]) == (75, "fail", "unchecked")

    def test_images_of_flows(self, busy: DoctorHarness, small_image: str) -> None:
        """One that is here, one that can be pulled, one that cannot: nothing is pulled."""
        with image_registry() as registry:
            name = f"{registry.address}/test-{uuid.uuid4().hex[:8]}:1"
            for image in (small_image, name, "no-such-image"):
                busy.flow(f"flow-{image}", type="DockerRun", image=image)

            found = busy.doctor("docker")
            registry.answer = (404, "MANIFEST_UNKNOWN")
            later = busy.doctor("docker")

        assert sorted(found.all("images"))[:2] == sorted(
            [
                ("ok", f"{name} is not on the platform yet; it can be pulled."),
                ("ok", f"{small_image} is on the platform."),
            ]
        )
        assert [severity for severity, _ in found.all("images")].count("warn") == 1
        assert [severity for severity, text in later.all("images") if text.startswith(name)] == ["warn"]


# --- Kubernetes, without a cluster ---


def test_a_cluster_that_is_not_to_be_found_fails(harness: DoctorHarness) -> None:
    """Exit code 78."""
    found = harness.doctor("kubernetes")

    assert (found.code, found.one("platform")[0]) == (78, "fail")
