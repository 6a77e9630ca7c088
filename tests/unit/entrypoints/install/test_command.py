"""``prefect agent install`` as people type it: spellings, options of all eras, what goes to which stream."""

from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from prefect.agent.entrypoints.cli import install as commands

KEY = "pcu_a-key-that-is-in-one-place"
TENANT = "0a0a0a0a-0000-4000-8000-000000000000"

OPTIONS_0_6_7 = "--token T -a https://api.example.com -n metrics -i registry --resource-manager"
OPTIONS_1_4_1 = (
    f"-k K --tenant-id {TENANT} -l a -l b -e A=1 -e B=2 --agent-config-id x -a https://api.example.com -n metrics -i r "
    "--rbac --latest --mem-request 1Gi --mem-limit 2Gi --cpu-request 100m --cpu-limit 1 --image-pull-policy Always "
    "--service-account-name jobs -b cloud"
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def agent() -> None:
    """Stand in for `prefect agent`."""


@agent.group("kubernetes")
def agent_kubernetes() -> None:
    """Stand in for `prefect agent kubernetes`."""


@agent.group("local")
def agent_local() -> None:
    """Stand in for `prefect agent local`."""


agent.add_command(commands.install)
agent_kubernetes.add_command(commands.kubernetes, "install")
agent_local.add_command(commands.local, "install")


def run(words: str | list[str]) -> Result:
    """Run ``prefect agent`` with *words*."""
    return CliRunner().invoke(agent, words)


def printed(words: str | list[str]) -> dict[str, dict[str, Any]]:
    """The documents on stdout, by kind."""
    result = run(words)
    assert result.exit_code == 0, result.output
    return {document["kind"]: document for document in yaml.safe_load_all(result.stdout)}


def env(words: str | list[str]) -> dict[str, Any]:
    """The agent's variables."""
    [container] = printed(words)["Deployment"]["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: None if "valueFrom" in entry else entry["value"] for entry in container["env"]}


# --- spellings ---


@pytest.mark.parametrize(
    "words",
    [
        "install --token T --namespace metrics",
        "install kubernetes --token T --namespace metrics",
        "install --token T --namespace metrics kubernetes",
        "install -t T -n metrics",
        "kubernetes install --key T --namespace metrics",
        "kubernetes install -k T -n metrics",
    ],
)
def test_all_spellings_print_the_same(words: str) -> None:
    """Those of 0.6.7, where kubernetes may be left out, and that of 1.4.1."""
    result = run(words)

    assert result.exit_code == 0
    assert result.stdout == run("install kubernetes --token T --namespace metrics").stdout


def test_a_namespace_may_be_called_kubernetes() -> None:
    """The word after an option is its value."""
    assert printed("install -t T -n kubernetes")["Secret"]["metadata"]["namespace"] == "kubernetes"


@pytest.mark.parametrize("words", ["install", f"install {OPTIONS_0_6_7}", f"kubernetes install {OPTIONS_1_4_1}"])
def test_options_of_all_eras_are_taken(words: str) -> None:
    """Whoever has a script has it still."""
    assert run(words).exit_code == 0


def test_options_of_1_x_do_what_they_did() -> None:
    """The variables are those of the official manifest (protocol section 7.5)."""
    found = env(f"kubernetes install {OPTIONS_1_4_1} --name blue")

    assert found == {
        "PREFECT__CLOUD__AGENT__AUTH_TOKEN": "",
        "PREFECT__CLOUD__API_KEY": None,
        "PREFECT_AGENT_API_KEY_SECRET": "prefect-agent/api-key",
        "PREFECT__BACKEND": "cloud",
        "PREFECT__CLOUD__API": "https://api.example.com",
        "PREFECT__CLOUD__TENANT_ID": TENANT,
        "PREFECT__CLOUD__AGENT__NAME": "blue",
        "PREFECT__CLOUD__AGENT__LABELS": '["a", "b"]',
        "PREFECT__CLOUD__AGENT__ENV_VARS": '{"A": "1", "B": "2"}',
        "PREFECT__CLOUD__AGENT__AGENT_ADDRESS": "http://:8080",
        "NAMESPACE": None,
        "IMAGE_PULL_SECRETS": "r",
        "JOB_MEM_REQUEST": "1Gi",
        "JOB_MEM_LIMIT": "2Gi",
        "JOB_CPU_REQUEST": "100m",
        "JOB_CPU_LIMIT": "1",
        "IMAGE_PULL_POLICY": "Always",
        "SERVICE_ACCOUNT_NAME": "jobs",
        "HOME": "/tmp",
        "POD_NAMESPACE": None,
        "POD_NAME": None,
        "POD_UID": None,
        "POD_CONTAINER": "agent",
    }


def test_labels_are_sorted_and_each_is_there_once() -> None:
    """As in 1.4.1."""
    assert env("install -l b -l a -l b")["PREFECT__CLOUD__AGENT__LABELS"] == '["a", "b"]'


def test_features_left_out_are_said_once_in_one_order() -> None:
    """However often and in what order they were typed."""
    found = env("install --without events --without clean-up --without events")

    assert found["PREFECT_AGENT_WITHOUT"] == "clean-up,events"


def test_features_that_can_be_left_out_are_those_of_the_table() -> None:
    """The choice of the option is written without the table, which costs an import."""
    from prefect.agent.entrypoints.cli.install_options import WITHOUT  # noqa: PLC0415
    from prefect.agent.entrypoints.install.plan import OPTIONAL  # noqa: PLC0415

    assert WITHOUT == OPTIONAL


# --- which backend ---


@pytest.mark.parametrize(
    ("words", "backend", "secret"),
    [
        ("install", "cloud", True),
        ("install -t T", "cloud", True),
        ("install -a https://api.prefect.io", "cloud", True),
        ("install -a http://server:4200", "server", False),
        ("install -a http://server:4200 -t T", "cloud", True),
        ("install -a http://server:4200 -t T -b server", "server", True),
        ("install -a http://server:4200 -b cloud", "cloud", True),
        ("install -a http://server:4200 --existing-secret s", "cloud", False),
        ("install -a http://server:4200 -b server", "server", False),
    ],
)
def test_the_backend_follows_from_address_and_key(words: str, backend: str, *, secret: bool) -> None:
    """As `start` decides it; a server without keys gets no Secret."""
    assert env(words)["PREFECT__BACKEND"] == backend
    assert ("Secret" in printed(words)) == secret


# --- which stream ---


def test_stdout_is_yaml_and_nothing_else() -> None:
    """It goes into `kubectl apply -f -`; whatever is to be said to a person goes to stderr."""
    result = run("install --rbac --latest --resource-manager -a http://localhost:4200 -b cloud -e A=b -l é")

    assert result.stdout.startswith("---\n# ")
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(result.stdout))
    for word in ("--rbac", "--latest", "--resource-manager", "localhost", "placeholder", "docker build"):
        assert word in result.stderr


def test_the_key_is_printed_once() -> None:
    """In the Secret; not among the words for people."""
    result = run(f"install --token {KEY}")

    assert result.stdout.count(KEY) == 1
    assert KEY not in result.stderr
    assert "placeholder" not in result.stderr


def test_the_words_about_the_placeholder_name_the_namespace() -> None:
    """They can be copied."""
    words = run("install -n metrics").stderr

    assert "kubectl create secret generic prefect-agent --namespace metrics --from-file=api-key=/dev/stdin" in words
    assert "--existing-secret prefect-agent" in words


def test_with_an_own_image_no_message_asks_to_build_one() -> None:
    """The hint is for those who have none."""
    result = run("install --token T --image registry.example.com/agent@sha256:abc")

    assert not result.stderr
    assert 'image: "registry.example.com/agent@sha256:abc"' in result.stdout


# --- what is wrong ---


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (["-n", "Metrics"], "'Metrics' is not a namespace"),
        (["-n", "a" * 64], "at most 63"),
        (["-n", "a-"], "not a namespace"),
        (["-t", ""], "it is empty"),
        (["-t", "a b"], "the API key is not valid"),
        (["-a", "server:4200"], "not the address of a Prefect API"),
        (["-a", "http://[::1"], "not the address of a Prefect API"),
        (["-a", "http://a b"], "not the address of a Prefect API"),
        (["-a", "http://a..b"], "not the address of a Prefect API"),
        (["-a", "https://user:s3cr3t@h"], "--api https://h has a name or password"),
        (["-a", "https://token@h"], "--api https://h has a name or password"),
        (["--tenant-id", "main"], "not a UUID"),
        (["-e", "A"], "KEY=VALUE"),
        (["-e", "1A=b"], "KEY=VALUE"),
        (["-e", "A=\udcff"], "not valid in UTF-8"),
        (["-l", ""], "it is empty"),
        (["-l", "a\nb"], "cannot be printed"),
        (["-i", "A_B"], "not a name in Kubernetes"),
        (["--service-account-name", "a/b"], "not a name in Kubernetes"),
        (["--existing-secret", "s/"], "not NAME/KEY"),
        (["--existing-secret", "s/a b"], "not NAME/KEY"),
        (["--mem-limit", "1GB"], "not an amount in Kubernetes"),
        (["--cpu-limit", "-1"], "not an amount in Kubernetes"),
        (["--image", "a b"], "not an image"),
        (["--image-pull-policy", "Sometimes"], "is not one of"),
        (["--without", "run"], "is not one of"),
        (["--drain", "0"], "0"),
        (["-b", "server"], "--backend server needs --api"),
        (["-t", "T", "--existing-secret", "s"], "exclude each other"),
        (["nomad"], "nomad"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(words: list[str], about: str) -> None:
    """Exit code 2, nothing on stdout that could be applied by mistake."""
    result = run(["install", "kubernetes", *words])

    assert result.exit_code == 2
    assert about in result.stderr
    assert "s3cr3t" not in result.stderr
    assert not result.stdout


# --- options of the agent itself ---


@pytest.mark.parametrize(
    ("words", "printed_words"),
    [
        ("install -- --start-trouble 300 --qps=9", '[agent, start, kubernetes, "--start-trouble", "300", "--qps=9"]'),
        ("kubernetes install -- --log-level DEBUG", '[agent, start, kubernetes, "--log-level", DEBUG]'),
        ("install --", "[agent, start, kubernetes]"),
        ("install systemd --command p -- --no-pull -v", "ExecStart=p agent start docker --no-pull -v\n"),
        ("install systemd --agent process --command p -- -v", "ExecStart=p agent start process -v\n"),
        ("install supervisor --command p -f -- --network a", "=p agent start docker --show-flow-logs --network a\n"),
        ("local install --command p -- --no-hostname-label", "command=p agent local start --no-hostname-label\n"),
        ("install compose -- --no-pull", '[agent, start, docker, "--no-pull", "--agent-address", '),
    ],
)  # fmt: skip
def test_what_follows_two_dashes_is_for_the_agent(words: str, printed_words: str) -> None:
    """So that `install` need not have every option that `start` has."""
    result = run(words)

    assert result.exit_code == 0, result.stderr
    assert printed_words in result.stdout


@pytest.mark.parametrize(
    ("words", "about"),
    [
        ("install -- --frob", "after --: No such option"),
        ("install -- --qps 0", "after --: Invalid value for '--qps'"),
        ("install -- --volume x", "after --: --volume is not for the kubernetes agent"),
        ("install systemd -- --qps 9", "after --: --qps is not for the local agent"),
        ("install systemd -- process", "after --: Got unexpected extra argument"),
        ("install -- --namespace b", "give --namespace before --, not after it"),
        ("install -- --label b", "give --label before --, not after it"),
        ("install -- --api-key-secret a/b", "--api-key-secret cannot be given after --"),
        ("install -- --agent-address http://:1", "--agent-address cannot be given after --"),
        ("install compose -- --agent-address http://:1", "--agent-address cannot be given after --"),
        ("install systemd -- --token T", "--token cannot be given after --"),
    ],
)
def test_the_agents_options_are_checked_before_anything_is_printed(words: str, about: str) -> None:
    """As the agent will check them. What `install` decides itself is not overruled; no key becomes an argument."""
    result = run(words)

    assert result.exit_code == 2
    assert about in result.stderr
    assert not result.stdout


def test_a_key_that_is_wrong_is_not_repeated() -> None:
    """Error messages end up in logs of build machines."""
    assert "se cret" not in run(["install", "--token", "se cret"]).output


def test_an_unknown_kind_is_wrong_usage() -> None:
    """With the names there are; 0.x said so and ended with 0."""
    result = run("install nomad")

    assert result.exit_code == 2
    assert "nomad" in result.stderr


@pytest.mark.parametrize("words", ["install -h", "install --help"])
def test_help_lists_what_can_be_installed(words: str) -> None:
    """The group's own help, not that of kubernetes."""
    result = run(words)

    assert result.exit_code == 0
    for name in ("kubernetes", "systemd", "supervisor", "compose"):
        assert name in result.stdout


# --- beside a process manager ---


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        ("install supervisor", "agent start docker"),
        ("install supervisor --agent process", "agent start process"),
        ("install local", "agent local start"),
        ("local install", "agent local start"),
    ],
)
def test_supervisor_in_all_spellings(words: str, starts: str) -> None:
    """`local` is the container agent in the flat form and the process agent in the words of 1.x."""
    options = f"-k {KEY} --tenant-id {TENANT} -l a -e A=b --agent-config-id x -p /flows -f --command prefect"
    result = run(f"{words} {options}")

    assert result.exit_code == 0
    assert f"command=prefect {starts} --tenant-id {TENANT} --agent-config-id x --label a" in result.stdout
    assert result.stdout.count(KEY) == 1
    assert "chmod 600" in result.stderr


def test_a_unit_says_where_the_key_goes() -> None:
    """It is not in the unit, so the words about it are as important."""
    result = run("install systemd --command /home/me/prefect")

    assert result.exit_code == 0
    assert "PREFECT__CLOUD__API_KEY=" in result.stderr
    assert "home directory" in result.stderr
    assert "ProtectHome=read-only" in result.stdout


def test_a_unit_for_processes_needs_a_user() -> None:
    """Its flow runs outlive a restart, and so must their user."""
    result = run("install systemd --agent process --command /opt/prefect --api http://server:4200")

    assert "useradd" in result.stderr
    assert "API_KEY" not in result.stderr
    assert "\nUser=prefect-agent\n" in result.stdout


def test_a_compose_file_names_what_it_needs() -> None:
    """The image, the key, and that `localhost` is another machine inside."""
    result = run("install compose --api http://127.0.0.1:4200")

    assert result.exit_code == 0
    assert "docker build" in result.stderr
    assert "127.0.0.1" in result.stderr
    assert "env_file" not in result.stdout
    assert "env_file" in run("install compose --image agent:1").stdout


@pytest.mark.parametrize("path", ["~nosuchuser/config", "~/config"])
def test_a_kubeconfig_without_a_home_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """A user without an entry in the password file has none."""
    monkeypatch.setenv("KUBECONFIG", path)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    result = run(["install", "kubernetes", "--existing-secret", "s"])

    assert result.exit_code == 0, result.stderr
