"""What flow authors may ask for: patterns, presets, refusals."""

from typing import Any

import attrs
import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.demands import Demands, asked, host_path, leads_to_a_socket
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.policy import OPEN, PRESETS, RESTRICTED, RULES, Patterns, Policy, judge
from prefect.agent.domain.model.run_configs import DockerRun, KubernetesRun, RunConfig
from prefect.agent.domain.model.submissions import Submission


def demands(**values: Any) -> Demands:
    """Demands with sets of these values."""
    given: dict[str, Any] = {name: value if name == "quotable" else frozenset(value) for name, value in values.items()}
    return Demands(**given)


def policy(preset: str = "restricted", **rules: list[str]) -> Policy:
    """A policy as a file describes it."""
    return Policy.read({"preset": preset, **rules})


ROOT: list[tuple[str, str]] = [
    ("host_paths", "/"),
    ("host_paths", "?C:\\data:/data"),
    ("engine_sockets", "/run/docker.sock"),
    ("volumes", "volume/others"),
    ("volumes", "nfs"),
    ("volumes", "csi/secrets-store.csi.k8s.io"),
    ("host_config", "sysctls"),
    ("host_config", "a key of tomorrow"),
    ("privileges", "privileged"),
    ("privileges", "escalation"),
    ("privileges", "root"),
    ("capabilities", "SYS_ADMIN"),
    ("devices", "/dev/sda"),
    ("host_namespaces", "pid"),
    ("host_namespaces", "network/container:other"),
    ("networks", "another"),
    ("networks", "port/22"),
    ("security_options", "seccomp=unconfined"),
    ("namespaces", "kube-system"),
    ("service_accounts", "admin"),
    ("agent_account", "prefect-agent"),
    ("secrets", "registry"),
    ("owner_references", "Deployment/prefect-agent"),
    ("finalizers", "example.com/never"),
    ("nodes", "control-plane"),
    ("pod_fields", "priorityClassName"),
    ("pod_fields", "a field of tomorrow"),
    ("template_paths", "/etc/shadow"),
    ("template_paths", "https://example.com/job.yaml"),
    ("environment", "LD_PRELOAD"),
    ("environment", "BASH_FUNC_/bin/mv%%"),
    ("environment", "PREFECT_AGENT_UNIT"),
    ("environment", "PATH"),
    ("environment", "PREFECT__home_dir"),
    ("environment", "PREFECT__CONTEXT__CONFIG__HOME_DIR"),
    ("environment", "PREFECT__Cloud__Agent__Auth_Token"),
]

HARMLESS: list[tuple[str, str]] = [
    ("images", "docker.io/library/python:3.11"),
    ("image_sources", "local"),
    ("environment", "MY_SETTING"),
    ("environment", "PREFECT__LOGGING__LEVEL"),
    ("host_config", "mem_limit"),
    ("volumes", "emptyDir"),
    ("volumes", "configMap/settings"),
    ("networks", "none"),
    ("pod_fields", "containers"),
    ("security_options", "no-new-privileges"),
]


class TestJudge:
    """Policy and demands."""

    @pytest.mark.parametrize(("rule", "value"), ROOT)
    def test_restricted_refuses(self, rule: str, value: str) -> None:
        """The refusal names rule and value, and what to change."""
        said = judge(RESTRICTED, demands(**{rule: [value]}))
        assert said is not None
        assert f"rule {rule}: " in said
        assert repr(value) in said
        assert "Take it out of the run config" in said
        assert f"under {rule}" in said

    @pytest.mark.parametrize(("rule", "value"), HARMLESS)
    def test_restricted_allows(self, rule: str, value: str) -> None:
        """What a flow needs to live."""
        assert judge(RESTRICTED, demands(**{rule: [value]})) is None

    @pytest.mark.parametrize(("rule", "value"), [each for each in [*ROOT, *HARMLESS] if each[0] != "template_paths"])
    def test_open_allows_everything(self, rule: str, value: str) -> None:
        """As 1.4.1 does."""
        assert judge(OPEN, demands(**{rule: [value]})) is None

    def test_open_reads_no_template_from_the_disk(self) -> None:
        """That is closed whatever the preset; web addresses are looked at by who reads them."""
        assert judge(OPEN, demands(template_paths=["/etc/shadow"])) is not None
        assert judge(OPEN, demands(template_paths=["s3://bucket/job.yaml"])) is not None
        assert judge(OPEN, demands(template_paths=["https://example.com/job.yaml"])) is None

    def test_every_rule_that_refuses_is_named(self) -> None:
        """So that one try is enough to learn them."""
        said = judge(RESTRICTED, demands(host_paths=["/", "/etc"], privileges=["privileged"]))
        assert said is not None
        assert "rule host_paths: the host's path '/' and 1 more; rule privileges:" in said
        assert "under host_paths, privileges" in said

    def test_a_refusal_is_short(self) -> None:
        """However long the value, and however many."""
        everything = {name: ["x" * 10_000] for name in RULES if name != "registries"}
        assert len(judge(policy(images=[]), demands(**everything)) or "") < 2500

    def test_values_of_a_file_are_not_repeated(self) -> None:
        """They may be lines of it."""
        said = judge(RESTRICTED, demands(host_paths=["root:x:0:0"], quotable=False))
        assert said is not None
        assert "rule host_paths" in said
        assert "root:x" not in said

    @pytest.mark.parametrize(
        ("rule", "patterns", "value", "allowed"),
        [
            ("images", ["registry.example.com/team/*"], "registry.example.com/team/flow:1", True),
            ("images", ["registry.example.com/team/*"], "registry.example.com/team/a/b:1", False),
            ("images", ["registry.example.com/team/**"], "registry.example.com/team/a/b:1", True),
            ("images", ["*.example.com/flow"], "evil.test/x.example.com/flow:1", False),
            ("images", ["docker.io/library/python:3.*"], "docker.io/library/python:3.11", True),
            ("images", ["docker.io/library/python:3.*"], "docker.io/library/python:latest", False),
            ("images", ["**@sha256:*"], "docker.io/library/python:3.11", False),
            ("images", ["**@sha256:*"], "docker.io/library/python@sha256:" + "a" * 64, True),
            ("images", ["*", "!docker.io/library/*"], "docker.io/library/python:3", False),
            ("images", ["docker.io/**"], "sha256:cafe", False),
            ("images", ["docker.io/**"], "?docker.io/UPPER", False),
            ("registries", ["registry.example.com"], "registry.example.com/team/flow:1", True),
            ("registries", ["registry.example.com"], "registry.example.com.evil.test/flow:1", False),
            ("registries", ["registry.example.com/team"], "registry.example.com/teams/flow:1", False),
            ("registries", ["registry.example.com"], "docker.io/library/flow:latest", False),
            ("registries", ["docker.io"], "docker.io/library/flow:latest", True),
            ("registries", ["prefecthq"], "docker.io/prefecthq/prefect:1.4.1", True),
            ("registries", ["prefecthq"], "docker.io/library/prefecthq:latest", False),
            ("registries", ["docker.io"], "sha256:cafe", False),
            ("registries", ["*", "!prefecthq"], "docker.io/prefecthq/prefect:1.4.1", False),
            ("host_paths", ["/data/**"], "/data/a/b", True),
            ("host_paths", ["/data/*"], "/data/a/b", False),
            ("host_paths", ["/data"], "/database", False),
            ("environment", ["preset", "!TOKEN"], "TOKEN", False),
            ("environment", ["preset", "!TOKEN"], "LD_PRELOAD", False),
            ("environment", ["preset", "!TOKEN"], "OTHER", True),
            ("environment", ["!TOKEN"], "OTHER", True),
            ("host_config", ["preset", "ulimits"], "ulimits", True),
            ("host_config", ["preset", "ulimits"], "mem_limit", True),
            ("secrets", [], "any", False),
            ("volumes", ["volume/team-*"], "volume/team-a", True),
            ("template_paths", ["/srv/jobs"], "/srv/jobs/a.yaml", True),
            ("template_paths", ["/srv/jobs"], "/srv/jobs/../../etc/shadow", False),
        ],
    )
    def test_patterns(self, rule: str, patterns: list[str], value: str, *, allowed: bool) -> None:
        """One star stops at a slash where it allows, and does not where it denies."""
        seen = demands(**{"images" if rule == "registries" else rule: [value]})
        assert (judge(Policy.read({"preset": "restricted", rule: patterns}), seen) is None) is allowed

    def test_every_rule_has_demands(self) -> None:
        """One name, one thing."""
        names = {each.name for each in attrs.fields(Demands)} - {"quotable"}
        assert names | {"registries"} == set(RULES)
        assert all(set(rules) == set(RULES) for rules in PRESETS.values())


class TestRead:
    """A policy as a document."""

    def test_rules_replace_those_of_the_preset(self) -> None:
        """All others stay."""
        found = policy(images=["a/*"])
        assert found.patterns("images") == Patterns(("a/*",))
        assert found.patterns("volumes") == RESTRICTED.patterns("volumes")

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            (None, "a policy is a mapping"),
            ([], "a policy is a mapping"),
            ({}, "policy's preset is None; it is one of open, restricted"),
            ({"preset": "opn"}, "policy's preset is 'opn'"),
            ({"preset": ["open"]}, "policy's preset is"),
            ({"preset": "open", "image": []}, "no rule 'image'; did you mean 'images'"),
            ({"preset": "open", "hostpaths": []}, "did you mean 'host_paths'"),
            ({"preset": "open", "qqq": []}, "there are preset, images"),
            ({"preset": "open", 7: []}, "no rule '7'"),
            ({"preset": "open", "images": "a/*"}, "rule 'images' takes a list of texts"),
            ({"preset": "open", "images": [1]}, "rule 'images' takes a list of texts"),
            ({"preset": "open", "images": [""]}, "rule 'images' takes a list of texts"),
            ({"preset": "open", "images": None}, "rule 'images' takes a list of texts"),
            ({"preset": "open", "template_paths": ["!/a"]}, "'!/a' is no place"),
            ({"preset": "open", "template_paths": ["jobs"]}, "'jobs' is no place"),
            ({"preset": "open", "template_paths": ["https://"]}, "'https://' is no place"),
        ],
    )
    def test_mistakes_are_named(self, document: object, words: str) -> None:
        """With what was probably meant."""
        with pytest.raises(ConfigurationError) as caught:
            Policy.read(document)
        assert words in str(caught.value)

    def test_open_needs_no_platform(self) -> None:
        """Nothing but templates is looked at; any rule changes that, and the fingerprint."""
        assert OPEN.is_open
        assert OPEN.fingerprint == ""
        assert policy("open", template_paths=["/srv"]).is_open
        assert not policy("open", images=["a/*"]).is_open
        assert not RESTRICTED.is_open
        found = {each.fingerprint for each in (OPEN, RESTRICTED, policy("open", images=["a"]), policy(images=["a"]))}
        assert len(found) == 4


class TestAsked:
    """What every submission shows."""

    def submission(self, config: RunConfig, env: dict[str, str]) -> Submission:
        """Of a run with this config."""
        return Submission(
            name="u", flow_run_id=FlowRunId("r"), attempt="1", command=("c",), image="flow", env=env, run_config=config
        )

    def test_image_and_variables(self) -> None:
        """Variables of the run config that are the unit's; those that others override or give are none of them."""
        config = DockerRun(env={"A": "1", "B": "mine"})
        found = asked(self.submission(config, {"A": "1", "B": "fixed", "C": "agent"}))
        assert found == demands(images=["docker.io/library/flow:latest"], environment=["A"])

    def test_a_default_image_is_the_platforms_to_tell(self) -> None:
        """It may have a template with a better one; the platforms' own demands have it unless they do."""
        default = attrs.evolve(self.submission(DockerRun(), {}), image_is_default=True)
        assert asked(default).images == frozenset()
        assert asked(default, is_final=True).images == {"docker.io/library/flow:latest"}

    def test_the_path_of_a_template(self) -> None:
        """Unless the run config has the template itself, which wins."""
        assert asked(self.submission(KubernetesRun(job_template_path="p"), {})).template_paths == {"p"}
        config = KubernetesRun(job_template_path="p", job_template={"kind": "Job"})
        assert asked(self.submission(config, {})).template_paths == frozenset()


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/", True),
        ("/run", True),
        ("/var/run", True),
        ("/var/run/docker.sock", True),
        ("//var//run/../run/docker.sock", True),
        ("/run/user/1000/docker.sock", True),
        ("/run/user/1000", True),
        ("/run/containerd", True),
        ("/own/engine.sock", True),
        ("/own", True),
        ("/data", False),
        ("/run/docker.sock.d", False),
        ("/runs", False),
    ],
)
def test_the_way_to_a_socket(path: str, *, leads: bool) -> None:
    """The socket itself, a folder above it, in any spelling."""
    assert (
        leads_to_a_socket(host_path(path), ("/run/docker.sock", "/run/containerd/containerd.sock", "/own/engine.sock"))
        is leads
    )
