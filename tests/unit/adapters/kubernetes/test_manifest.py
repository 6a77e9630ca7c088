"""The Job of a submission: vectors P03 and P04 of the protocol, its marks, its variables."""

from typing import Any

import pytest

from prefect.agent.adapters.kubernetes import manifest, templates
from prefect.agent.adapters.kubernetes.manifest import JobDefaults, SecretReference
from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.run_configs import KubernetesRun
from prefect.agent.domain.model.submissions import Submission
from support.kubernetes_jobs import OWN, a_job, a_submission, pod_of

NAME = "prefect-00000000-0000-4000-8000-000000000030-1"


class TestVectors:
    """Recorded Jobs of the official agent (protocol section 15), and where we differ on purpose."""

    def test_p03(self) -> None:
        """A run config with everything set arrives as with the official agent, but for what is said below."""
        run_id, flow_id = FlowRunId("00000000-0000-4000-8000-000000000030"), "00000000-0000-4000-8000-000000000031"
        env = {
            "PREFECT__LOGGING__LEVEL": "INFO",
            "E1": "v1",
            "RC": "3",
            "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": "true",
            "PREFECT__BACKEND": "cloud",
            "PREFECT__CLOUD__AGENT__LABELS": "['k']",
            "PREFECT__CLOUD__API": "http://api.test:4200",
            "PREFECT__CLOUD__TENANT_ID": "11111111-1111-4111-8111-111111111111",
            "PREFECT__CLOUD__USE_LOCAL_SECRETS": "false",
            "PREFECT__CONTEXT__FLOW_RUN_ID": run_id,
            "PREFECT__CONTEXT__FLOW_ID": flow_id,
            "PREFECT__CONTEXT__IMAGE": "registry.example/x/k:1",
            "PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudFlowRunner",
            "PREFECT__LOGGING__LOG_TO_CLOUD": "true",
        }
        config = KubernetesRun(
            cpu_limit="1",
            cpu_request="500m",
            memory_limit="1Gi",
            memory_request="512Mi",
            service_account_name="sa",
            image_pull_secrets=("s1",),
            image_pull_policy="Always",
        )
        submission = Submission(
            name=NAME,
            flow_run_id=run_id,
            attempt="1",
            command=("prefect", "execute", "flow-run"),
            image="registry.example/x/k:1",
            image_variable="PREFECT__CONTEXT__IMAGE",
            env=env,
            secret_env={"PREFECT__CLOUD__API_KEY": "pcu_KEY", "PREFECT__CLOUD__AUTH_TOKEN": "pcu_KEY"},
            run_config=config,
            flow_id=flow_id,
            flow_name="f",
            flow_run_name="r",
        )
        labels = {
            "prefect.io/identifier": "e61279d7",  # of the name, which is the same in every attempt to create it
            "prefect.io/flow_run_id": run_id,
            "prefect.io/flow_id": flow_id,
            "prefect.io/unit": NAME,  # ours
            "app.kubernetes.io/managed-by": "prefect-agent",  # ours
        }
        exact = {"prefect.io/flow-run-id": run_id, "prefect.io/attempt": "1"}  # ours
        notes = {**exact, "prefect.io/flow-name": "f", "prefect.io/flow-run-name": "r", "prefect.io/secret": NAME}
        key = {"secretKeyRef": {"name": NAME, "key": "PREFECT__CLOUD__API_KEY"}}
        token = {"secretKeyRef": {"name": NAME, "key": "PREFECT__CLOUD__AUTH_TOKEN"}}
        flow = {
            "name": "flow",
            "image": "registry.example/x/k:1",
            "imagePullPolicy": "Always",
            "args": ["prefect", "execute", "flow-run"],
            "env": [
                *({"name": name, "value": value} for name, value in env.items()),
                {"name": "PREFECT__CLOUD__API_KEY", "valueFrom": key},  # official: plain, and in between
                {"name": "PREFECT__CLOUD__AUTH_TOKEN", "valueFrom": token},
            ],
            "resources": {"requests": {"memory": "512Mi", "cpu": "500m"}, "limits": {"memory": "1Gi", "cpu": "1"}},
        }
        pod = {
            "containers": [flow],
            "serviceAccountName": "sa",
            "imagePullSecrets": [{"name": "s1"}],
            "restartPolicy": "Never",
        }
        assert manifest.job(
            submission,
            templates.BUILT_IN,
            from_run=False,
            defaults=JobDefaults(namespace="ns1", restricted=False),  # Pod Security: see TestPodSecurity
            secret=SecretReference(NAME),
        ) == {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": NAME, "namespace": "ns1", "labels": labels, "annotations": notes},
            "spec": {
                "backoffLimit": 0,  # official: left to the cluster, which starts a flow run up to seven times
                "ttlSecondsAfterFinished": 86_400,  # official: none
                "template": {"metadata": {"labels": labels, "annotations": exact}, "spec": pod},
            },
        }

    def test_p04(self) -> None:
        """The run config's template keeps its account and restart policy, takes the agent's pull secrets, loses RC."""
        reference = {"secretKeyRef": {"name": "s", "key": "k"}}
        template = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "tmpl", "labels": {"q": "1"}},
            "spec": {
                "template": {
                    "spec": {
                        "serviceAccountName": "tsa",
                        "restartPolicy": "OnFailure",
                        "containers": [
                            {
                                "name": "x",
                                "image": "timg",
                                "command": ["tini"],
                                "env": [{"name": "RC", "value": "lost"}, {"name": "T", "valueFrom": reference}],
                            }
                        ],
                    }
                }
            },
        }
        submission = a_submission(env={"E1": "v1", "RC": "3"}, image="default", image_is_default=True)
        made = a_job(
            submission,
            template,
            from_run=True,
            service_account_name="asa",
            image_pull_secrets=("p1", "p2"),
            restricted=False,
        )
        assert pod_of(made) == {
            "serviceAccountName": "tsa",
            "restartPolicy": "OnFailure",
            "containers": [
                {
                    "name": "x",
                    "image": "timg",
                    "env": [
                        {"name": "E1", "value": "v1"},
                        {"name": "RC", "value": "3"},
                        {"name": "T", "valueFrom": reference},
                    ],
                    "command": ["tini"],
                    "args": ["prefect", "execute"],
                    "resources": {"requests": {}, "limits": {}},
                }
            ],
            "imagePullSecrets": [{"name": "p1"}, {"name": "p2"}],
        }
        assert made["metadata"]["labels"] == {"q": "1", **manifest.labels(submission)}
        assert made["metadata"]["name"] == "prefect-x-1", "official: tmpl-<8 hex>; ours is a function of the claim"


class TestIdentity:
    """Name, namespace, labels, annotations."""

    def test_name(self) -> None:
        """The name is the unit's; whatever the template says about it, and what a server once wrote into it, goes."""
        template = {
            "metadata": {"name": "t", "generateName": "t-", "uid": "u", "resourceVersion": "7", "finalizers": ["f/f"]},
            "status": {"active": 1},
        }
        made = a_job(template=template)
        assert made["metadata"] == {**a_job()["metadata"], "finalizers": ["f/f"]}
        assert "status" not in made

    def test_namespace(self) -> None:
        """The agent's, unless the template names one."""
        template = {"metadata": {"namespace": "other"}}
        assert a_job(namespace="mine")["metadata"]["namespace"] == "mine"
        assert a_job(template=template, namespace="mine")["metadata"]["namespace"] == "other"
        assert manifest.namespace_of(template, "mine") == "other"
        assert manifest.namespace_of({}, "mine") == "mine"
        with pytest.raises(SubmissionRefused, match=r"metadata\.namespace is a number, not a text"):
            manifest.namespace_of({"metadata": {"namespace": 1}}, "mine")

    @pytest.mark.parametrize("value", ["a" * 64, "-a", "a-", "a b", "ä", "a\n", ""])
    def test_label_that_is_none(self, value: str) -> None:
        """What cannot be a label is left out of the labels; the annotation has it as it is."""
        made = a_job(a_submission(flow_run_id=FlowRunId(value), flow_id=value))
        for part in (made, made["spec"]["template"]):
            assert {"prefect.io/flow_run_id", "prefect.io/flow_id"}.isdisjoint(part["metadata"]["labels"])
            assert part["metadata"]["annotations"].get(manifest.FLOW_RUN_ID, "") == value

    def test_long_names(self) -> None:
        """Names are for people and are cut; ids are read back and are not."""
        long = "é" * 300
        notes = manifest.annotations(
            a_submission(flow_name=long, flow_run_name=long, flow_run_id=FlowRunId(long), attempt=long), OWN
        )
        assert {name: len(value) for name, value in notes.items()} == {
            manifest.FLOW_RUN_ID: 300,
            manifest.ATTEMPT: 300,
            manifest.FLOW_NAME: 256,
            manifest.FLOW_RUN_NAME: 256,
            manifest.SECRET: len(OWN.name),
        }

    def test_forged_marks(self) -> None:
        """A template can neither claim a mark of ours nor one that the agent would read back."""
        values = {getattr(manifest, name): "forged" for name in manifest.__all__ if name.isupper()}
        metadata = {"labels": {**values, "mine": "1"}, "annotations": {**values, "mine": "1"}}
        template = {"metadata": metadata, "spec": {"template": {"metadata": metadata}}}
        made = manifest.job(
            a_submission(), template, from_run=True, defaults=JobDefaults(), secret=SecretReference("s", "k")
        )
        for part in (made, made["spec"]["template"]):
            labels, notes = part["metadata"]["labels"], part["metadata"]["annotations"]
            assert labels[manifest.UNIT] == "prefect-x-1"
            assert labels["mine"] == notes["mine"] == "1"
            assert manifest.FLOW_ID_LABEL not in labels
            assert {manifest.SECRET, manifest.STOPPED}.isdisjoint(notes)


class TestStartedOnce:
    """A flow run is started once."""

    @pytest.mark.parametrize(
        ("spec", "field"),
        [
            ({"parallelism": 2}, "spec.parallelism"),
            ({"parallelism": 0}, "spec.parallelism"),
            ({"completions": 3}, "spec.completions"),
            ({"completions": {"a": 1}}, "spec.completions"),
            ({"completionMode": "Indexed"}, "spec.completionMode"),
            ({"completionMode": ["Indexed"]}, "spec.completionMode"),
        ],
    )
    def test_refused(self, spec: dict[str, Any], field: str) -> None:
        """A template that asks for several pods is refused."""
        with pytest.raises(SubmissionRefused, match=f"{field} must be .* started once"):
            a_job(template={"spec": spec})

    def test_taken(self) -> None:
        """What amounts to one pod is not touched, nor are a template's own retries."""
        spec = {
            "parallelism": 1,
            "completions": 1,
            "completionMode": "NonIndexed",
            "backoffLimit": 2,
            "activeDeadlineSeconds": 60,
        }
        made = a_job(template={"spec": spec})["spec"]
        assert {key: made[key] for key in spec} == spec

    def test_time_to_live(self) -> None:
        """The agent's time to live is for templates without one; None sets none."""
        assert a_job(ttl_seconds=60)["spec"]["ttlSecondsAfterFinished"] == 60
        assert "ttlSecondsAfterFinished" not in a_job(ttl_seconds=None)["spec"]

    @pytest.mark.parametrize(
        ("own", "agents", "made"),
        [
            (0, 86_400, 86_400),
            (60, 86_400, 86_400),
            (172_800, 86_400, 172_800),
            (60, None, 86_400),
            (60, 600, 600),
            (-1, 86_400, -1),
        ],
    )
    def test_a_short_time_to_live_is_made_longer(self, own: int, agents: int | None, made: int) -> None:
        """A Job must be there when an agent comes back: a day, or as long as the operator says."""
        job = a_job(template={"spec": {"ttlSecondsAfterFinished": own}}, ttl_seconds=agents)
        assert job["spec"]["ttlSecondsAfterFinished"] == made
