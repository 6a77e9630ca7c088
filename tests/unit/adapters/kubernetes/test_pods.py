"""The pod of a Job: who wins over whom, and the restricted Pod Security Standard."""

import json
from typing import Any

import pytest

from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.run_configs import KubernetesRun, RunConfig
from support.kubernetes_jobs import a_job, a_submission, flow_of, pod_of, with_flow, with_pod


class TestPrecedence:
    """Run config, template, agent: who wins."""

    @pytest.mark.parametrize(
        ("config", "template", "from_run", "agent", "expected"),
        [
            ("config", "template", True, "agent", "config"),
            (None, "template", True, "agent", "template"),
            (None, "template", False, "agent", "agent"),
            (None, "template", False, None, "template"),
            (None, None, True, "agent", "agent"),
            (None, None, False, None, None),
        ],
    )
    @pytest.mark.parametrize("old_name", [False, True])
    def test_accounts(
        self, config: str | None, template: str | None, from_run: bool, agent: str | None, expected: str, old_name: bool
    ) -> None:
        """Account and pull secrets: run config; its own template; agent; the agent's template."""
        pod: dict[str, Any] = {}
        if template:
            name = "serviceAccount" if old_name else "serviceAccountName"
            pod = {name: template, "imagePullSecrets": [{"name": template}]}
        made = pod_of(
            a_job(
                a_submission(
                    KubernetesRun(service_account_name=config, image_pull_secrets=(config,) if config else ())
                ),
                with_pod(pod),
                from_run=from_run,
                service_account_name=agent,
                image_pull_secrets=(agent,) if agent else (),
            )
        )
        assert made.get("serviceAccountName") == expected
        assert "serviceAccount" not in made
        assert made.get("imagePullSecrets") == ([{"name": expected}] if expected else None)

    @pytest.mark.parametrize(
        ("asked", "default", "template", "expected"),
        [
            ("asked", None, "template", "asked"),
            ("asked", None, None, "asked"),
            (None, "default", "template", "template"),
            (None, "default", None, "default"),
            (None, None, "template", "template"),
        ],
    )
    def test_image(self, asked: str | None, default: str | None, template: str | None, expected: str) -> None:
        """An image that somebody asked for, else the template's, else the default; the variable tells which."""
        submission = a_submission(
            image=asked or default, image_is_default=default is not None, image_variable="IMAGE", env={"IMAGE": "?"}
        )
        flow = flow_of(a_job(submission, with_flow({"image": template})))
        assert flow["image"] == expected
        assert flow["env"][0] == {"name": "IMAGE", "value": expected}

    def test_no_image(self) -> None:
        """Without any image there is nothing to start, and the message names both places for one."""
        with pytest.raises(SubmissionRefused, match=r"no image: neither the flow run nor .*containers\[0\]\.image"):
            a_job(a_submission(image=None))

    @pytest.mark.parametrize("config", ["config", None])
    @pytest.mark.parametrize("template", ["template", None])
    @pytest.mark.parametrize("agent", ["agent", None])
    def test_policy_and_resources(self, config: str | None, template: str | None, agent: str | None) -> None:
        """Pull policy and each of the four quantities: run config, template, agent."""
        kinds = ("cpu_request", "cpu_limit", "memory_request", "memory_limit")
        pair = {"cpu": template, "memory": template, "nvidia.com/gpu": "1"}
        flow = flow_of(
            a_job(
                a_submission(KubernetesRun(image_pull_policy=config, **dict.fromkeys(kinds, config))),
                with_flow({"imagePullPolicy": template, "resources": {"requests": pair, "limits": pair}}),
                image_pull_policy=agent,
                **dict.fromkeys(kinds, agent),
            )
        )
        expected = config or template or agent
        assert flow["imagePullPolicy"] == expected
        wanted = {"cpu": expected, "memory": expected, "nvidia.com/gpu": "1"}
        assert flow["resources"] == {"requests": wanted, "limits": wanted}

    def test_volumes(self) -> None:
        """The agent's volumes and mounts come after the template's, but not where it has the name or the path."""
        agent: dict[str, Any] = {
            "volumes": ({"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}),
            "volume_mounts": ({"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/b"}),
        }
        pod = {
            "volumes": [{"name": "b", "configMap": {"name": "c"}}],
            "containers": [{"volumeMounts": [{"name": "b", "mountPath": "/a"}]}],
        }
        made = a_job(template=with_pod(pod), **agent)
        assert pod_of(made)["volumes"] == [{"name": "b", "configMap": {"name": "c"}}, {"name": "a", "emptyDir": {}}]
        assert flow_of(made)["volumeMounts"] == [{"name": "b", "mountPath": "/a"}, {"name": "b", "mountPath": "/b"}]
        made = a_job(**agent)
        assert pod_of(made)["volumes"] == list(agent["volumes"])
        assert flow_of(made)["volumeMounts"] == list(agent["volume_mounts"])

    def test_other_run_config(self) -> None:
        """A run config that is not of Kubernetes asks for nothing."""
        assert a_job(a_submission(RunConfig())) == a_job()


NON_ROOT = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000}
SECCOMP = {"seccompProfile": {"type": "RuntimeDefault"}}
CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


class TestPodSecurity:
    """The restricted standard, where the template says nothing."""

    @pytest.mark.parametrize(
        ("pod", "flow", "expected_pod", "expected_flow", "home"),
        [
            ({}, {}, {**NON_ROOT, **SECCOMP}, CONFINED, True),
            ({"runAsUser": 7}, {}, {**NON_ROOT, **SECCOMP, "runAsUser": 7}, CONFINED, False),
            (
                {},
                {"runAsUser": 7},
                {"runAsNonRoot": True, "runAsGroup": 1000, **SECCOMP},
                {**CONFINED, "runAsUser": 7},
                False,
            ),
            ({**NON_ROOT, **SECCOMP}, CONFINED, {**NON_ROOT, **SECCOMP}, CONFINED, False),
            ({"fsGroup": 7}, {}, {**NON_ROOT, **SECCOMP, "fsGroup": 7}, CONFINED, True),
            (
                {"seccompProfile": {"type": "Localhost"}},
                {},
                {**NON_ROOT, "seccompProfile": {"type": "Localhost"}},
                CONFINED,
                True,
            ),
            ({"runAsUser": 0}, {}, {"runAsUser": 0, **SECCOMP}, CONFINED, False),
            ({"runAsNonRoot": False}, {}, {"runAsNonRoot": False, **SECCOMP}, CONFINED, False),
            ({}, {"runAsUser": 0}, SECCOMP, {**CONFINED, "runAsUser": 0}, False),
            (
                {},
                {"privileged": True},
                SECCOMP,
                {"privileged": True, "capabilities": {"drop": ["ALL"]}},
                False,
            ),
            (
                {},
                {"capabilities": {"add": ["SYS_ADMIN"]}},
                {**NON_ROOT, **SECCOMP},
                {"capabilities": {"add": ["SYS_ADMIN"]}},
                True,
            ),
            (
                {},
                {"allowPrivilegeEscalation": True},
                {**NON_ROOT, **SECCOMP},
                {"allowPrivilegeEscalation": True, "capabilities": {"drop": ["ALL"]}},
                True,
            ),
        ],
    )
    def test_key_by_key(
        self,
        pod: dict[str, Any],
        flow: dict[str, Any],
        expected_pod: dict[str, Any],
        expected_flow: dict[str, Any],
        home: bool,
    ) -> None:
        """Each key is added where neither pod nor container has it; who asks for root keeps the image's user."""
        made = a_job(template=with_pod({"securityContext": pod, "containers": [{"securityContext": flow}]}))
        assert pod_of(made)["securityContext"] == expected_pod
        assert flow_of(made)["securityContext"] == expected_flow
        assert ({"name": "HOME", "value": "/tmp"} in flow_of(made)["env"]) == home

    @pytest.mark.parametrize("where", ["containers", "initContainers"])
    def test_other_containers(self, where: str) -> None:
        """Containers beside the flow's are confined too, and one of them that needs root is not broken."""
        other = {"name": "other", "image": "i"}
        pod: dict[str, Any] = {"containers": [{"name": "flow"}]}
        pod[where] = [*pod.get(where, []), other]
        made = pod_of(a_job(template=with_pod(pod)))
        assert made[where][-1] == {**other, "securityContext": CONFINED}
        assert made["securityContext"] == {**NON_ROOT, **SECCOMP}
        other["securityContext"] = {"runAsUser": 0}  # type: ignore[assignment]
        made = pod_of(a_job(template=with_pod(pod)))
        assert made["securityContext"] == SECCOMP

    def test_one_of_two(self) -> None:
        """A container's own word is for itself: the silent one beside it is still covered by the pod."""
        pod = {"containers": [{"securityContext": {"runAsNonRoot": True, "runAsUser": 7}}, {"name": "b", "image": "i"}]}
        assert pod_of(a_job(template=with_pod(pod)))["securityContext"] == {**NON_ROOT, **SECCOMP}

    def test_home(self) -> None:
        """A home that somebody set stays."""
        for submission, template in (
            (a_submission(env={"HOME": "/h"}), with_pod({})),
            (a_submission(), with_flow({"env": [{"name": "HOME", "value": "/h"}]})),
        ):
            assert flow_of(a_job(submission, template))["env"] == [{"name": "HOME", "value": "/h"}]

    def test_left_out(self) -> None:
        """Nothing is added if the agent is told so, nor for Windows, where these fields are errors."""
        assert "securityContext" not in json.dumps(a_job(restricted=False))
        assert "securityContext" not in json.dumps(a_job(template=with_pod({"os": {"name": "windows"}})))
