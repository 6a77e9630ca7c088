"""The policy of an agent: by option, variable and file, and what is said about it at the start."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from click.testing import CliRunner

from prefect.agent import Agent, DockerAgent, KubernetesAgent
from prefect.agent.adapters.docker import platform as docker_platform
from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.adapters.kubernetes import platform as kubernetes_platform
from prefect.agent.adapters.null import platform as null_platform
from prefect.agent.adapters.process import platform as process_platform
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.policy import OPEN, PRESETS, RESTRICTED, RULES, Policy, judge
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.submissions import PlatformTraits
from prefect.agent.entrypoints.cli import prefect
from prefect.agent.entrypoints.container import build
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.settings.policies import policy_of, with_template_paths
from prefect.agent.ports.events import Event, ignore

NOWHERE = {"HOME": "/nonexistent"}
PAGE = Path(__file__).resolve().parents[4] / "docs" / "policy.md"


class TestChoice:
    """Which policy it is."""

    def test_option_then_variable_then_open(self, tmp_path: Path) -> None:
        """A preset's name, a file, or a policy made in Python."""
        file = tmp_path / "policy.yaml"
        file.write_text("preset: open\nimages: []\n", encoding="utf-8")
        own = Policy.read({"preset": "open", "images": []})
        assert policy_of(None, {}) == OPEN
        assert policy_of(None, {"PREFECT_AGENT_POLICY": "restricted"}) == RESTRICTED
        assert policy_of("open", {"PREFECT_AGENT_POLICY": "restricted"}) == OPEN
        assert policy_of(str(file), {}) == policy_of(own, {}) == own

    def test_json_is_yaml(self, tmp_path: Path) -> None:
        """Both are read."""
        file = tmp_path / "policy.json"
        file.write_text('{"preset": "restricted", "secrets": ["a"]}', encoding="utf-8")
        assert policy_of(str(file), {}) == Policy.read({"preset": "restricted", "secrets": ["a"]})

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("preset: restricted\nimage: []\n", "no rule 'image'; did you mean 'images'"),
            ("preset: restricted\nimages: []\nimages: ['*']\n", "the key 'images' occurs twice"),
            ("preset: [", "not one document of plain YAML or JSON (line 1, column"),
            ("a: 1\n---\nb: 1\n", "not one document"),
            ("!!python/object:os.system {}", "not one document"),
            ("", "a policy is a mapping"),
            ("preset: open\nimages: [1]\n", "rule 'images' takes a list of texts"),
            ("preset: open\n" + "#" * (1024 * 1024), "larger than 1024 KiB"),
        ],
    )
    def test_a_bad_file_is_a_wrong_configuration(self, tmp_path: Path, text: str, words: str) -> None:
        """The message names file and mistake, and the exit code is 78."""
        file = tmp_path / "policy.yaml"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError) as caught:
            policy_of(str(file), {})
        assert words in str(caught.value)
        assert str(file) in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "words"),
        [("restrictd", "name a file, or a preset: open, restricted"), ("/dev/null", "it is not a regular file")],
    )
    def test_what_is_no_file_is_refused(self, name: str, words: str) -> None:
        """A preset that is misspelled, too."""
        with pytest.raises(ConfigurationError, match=words):
            policy_of(name, {})

    def test_a_file_that_everybody_may_write_is_no_policy(self, tmp_path: Path) -> None:
        """Else the authors would write it."""
        file = tmp_path / "policy.yaml"
        file.write_text("preset: restricted\n", encoding="utf-8")
        file.chmod(0o666)
        with pytest.raises(ConfigurationError, match="every user of this machine can write it"):
            policy_of(str(file), {})

    def test_installations_take_the_options(self) -> None:
        """Behind ``--``, checked as the agent itself does."""
        words = ["agent", "install", "kubernetes", "--key", "k", "--", "--policy", "restricted"]
        done = CliRunner().invoke(prefect, words)
        assert done.exit_code == 0
        assert 'args: [agent, start, kubernetes, "--policy", restricted]' in done.stdout

    @pytest.mark.parametrize("words", ["agent start process", "agent kubernetes start"])
    def test_the_command_ends_with_78(self, words: str) -> None:
        """In both spellings, with one sentence."""
        command = [sys.executable, "-m", "prefect.agent", *words.split(), "--token", "k", "--policy", "/nonexistent"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 78
        assert "Error: the policy /nonexistent: there is no such file" in done.stderr
        assert "Traceback" not in done.stderr


def template_places(agent: Agent) -> object:
    """Where the platform may read templates."""
    return agent._options.platform_options["template_paths"]


class TestPlatforms:
    """What reaches the platform and the domain."""

    def agent(self, kind: type[Agent], environ: dict[str, str] | None = None, /, **given: Any) -> Agent:
        """One that is not started."""
        return kind(cloud=InMemoryCloudApi(), environ={**NOWHERE, **(environ or {})}, **given)

    def test_the_domain_judges_by_it(self) -> None:
        """The parts that create units have it, and claims are marked with it unless it is open."""
        made = [
            build(Options(policy=each, settings=AgentSettings()), cloud=InMemoryCloudApi(), platform=platform)
            for platform in [InMemoryPlatform()]
            for each in (OPEN, RESTRICTED)
        ]
        assert [parts.create_unit.policy for parts in made] == [OPEN, RESTRICTED]
        assert len({parts.loops.poll.claim.claimant.fingerprint for parts in made}) == 2

    def test_registries_by_argument_and_variable(self) -> None:
        """The argument of 1.4.1 wins."""
        variable = {"PREFECT_AGENT_REG_ALLOW_LIST": "a.example, b.example"}
        found = [
            self.agent(DockerAgent, *given, **named)._options.platform_options.get("reg_allow_list")
            for given, named in [((), {}), ((variable,), {}), ((variable,), {"reg_allow_list": ["c.example"]})]
        ]
        assert found == [None, ["a.example", "b.example"], ["c.example"]]

    def test_template_paths_are_one_list(self) -> None:
        """Of option and policy, for the domain and for what reads templates."""
        agent = self.agent(KubernetesAgent, template_paths=["/srv/jobs"])
        assert template_places(agent) == agent._options.policy.template_paths == ("public", "/srv/jobs")
        restricted = self.agent(KubernetesAgent, policy="restricted")
        assert template_places(restricted) == restricted._options.policy.template_paths == ()
        variable = {"PREFECT_AGENT_TEMPLATE_PATHS": "https://h.example/jobs, /srv/jobs"}
        both = self.agent(KubernetesAgent, variable, policy="restricted")
        assert both._options.policy.template_paths == ("https://h.example/jobs", "/srv/jobs")
        assert "template_paths" not in self.agent(KubernetesAgent)._options.platform_options

    def test_a_relative_folder_is_of_where_the_agent_starts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As for other paths of the command line."""
        monkeypatch.chdir(tmp_path)
        assert with_template_paths(RESTRICTED, ["jobs"], {}).template_paths == (str(tmp_path / "jobs"),)
        with pytest.raises(ConfigurationError, match="'https://' is no place"):
            with_template_paths(OPEN, ["https://"], {})


def test_a_refusal_is_in_state_and_log() -> None:
    """With the rule's name; the agent goes on."""
    cloud, platform = InMemoryCloudApi(), InMemoryPlatform()
    run_id = cloud.add_flow_run()
    Agent(
        cloud=cloud,
        platform=platform,
        settings=AgentSettings(max_polls=3, poll_first=0.005, poll_last=0.01),
        environ=NOWHERE,
        tell=ignore,
        policy=Policy.read({"preset": "open", "images": []}),
    ).start()
    assert cloud.flow_run(run_id).state == "Failed"
    assert "rule images" in cloud.flow_run(run_id).message
    assert any("rule images" in line.message for line in cloud.logs(run_id))
    assert platform.created == []


class TestWarning:
    """One sentence at the start."""

    def warned(self, traits: PlatformTraits = docker_platform.TRAITS, **given: Any) -> list[str]:
        """Warnings of a start that ends at once."""
        heard: list[Event] = []
        platform = InMemoryPlatform(traits=attrs.evolve(traits, default_image="i"))
        settings = AgentSettings(max_polls=1, poll_first=0.005)
        Agent(
            cloud=InMemoryCloudApi(), platform=platform, settings=settings, tell=heard.append, environ=NOWHERE, **given
        ).start()
        return [event.message for event in heard if event.level == "WARNING" and "policy" in event.message]

    @pytest.mark.parametrize(
        ("traits", "words"),
        [
            (docker_platform.TRAITS, "root on the machine of the Docker engine"),
            (kubernetes_platform.TRAITS, "what the namespace allows"),
            (process_platform.TRAITS, "what the agent's user may do"),
            (PlatformTraits(kind="nomad"), "all rights of this agent's platform. Start"),
        ],
        ids=["docker", "kubernetes", "process", "nomad"],
    )
    def test_an_open_policy_is_said(self, traits: PlatformTraits, words: str) -> None:
        """Once, with what it means here and what to do."""
        [said] = self.warned(traits)
        assert words in said
        assert "--policy restricted" in said

    def test_all_else_is_silent(self) -> None:
        """A policy that refuses something, and an agent whose own code starts flow runs."""
        assert self.warned(policy="restricted") == []
        assert self.warned(null_platform.TRAITS) == []


class TestPage:
    """docs/policy.md."""

    def test_the_example_is_a_policy(self) -> None:
        """And does what its comments say."""
        text = PAGE.read_text(encoding="utf-8").partition("<!-- example -->")[2].partition("<!-- end of example -->")[0]
        found = Policy.read(yaml.safe_load(text.strip().removeprefix("```yaml").removesuffix("```")))
        assert found.preset == "restricted"
        assert "mem_limit" in found.patterns("host_config").allow
        assert "ulimits" in found.patterns("host_config").allow
        assert "AWS_*" in found.patterns("environment").deny
        assert "LD_*" in found.patterns("environment").deny
        assert found.template_paths == ("https://templates.example.com/jobs", "/etc/prefect/templates")

    def test_the_refusal_reads_as_shown(self) -> None:
        """Word by word."""
        lines = [line[2:] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("> ")]
        asked = Demands(host_paths=frozenset({"/data"}), host_namespaces=frozenset({"pid"}))
        assert " ".join(lines) == judge(RESTRICTED, asked)

    def test_every_rule_and_preset_is_described(self) -> None:
        """One row for each, and no other."""
        table = PAGE.read_text(encoding="utf-8").partition("\n## Rules\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
        assert rows == list(RULES)
        assert all(f"`{preset}`" in PAGE.read_text(encoding="utf-8") for preset in PRESETS)
