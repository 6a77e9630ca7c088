"""Job templates that make no sense, or worse: whoever can make a flow run can write one."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.kubernetes import manifest, templates
from prefect.agent.adapters.kubernetes.manifest import JobDefaults
from prefect.agent.domain.errors import ConfigurationError, SubmissionRefused
from support.kubernetes_jobs import a_job, a_submission, flow_of, pod_of, with_flow, with_pod

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3) | st.binary(max_size=1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=2),
    max_leaves=4,
)
FIELDS = [
    "metadata",
    "spec",
    "template",
    "labels",
    "annotations",
    "namespace",
    "name",
    "containers",
    "initContainers",
    "env",
    "image",
    "resources",
    "requests",
    "limits",
    "cpu",
    "securityContext",
    "runAsUser",
    "privileged",
    "capabilities",
    "add",
    "os",
    "serviceAccountName",
    "imagePullSecrets",
    "volumes",
    "volumeMounts",
    "mountPath",
    "parallelism",
    "completions",
    "completionMode",
    "backoffLimit",
    "restartPolicy",
    "kind",
    "apiVersion",
    "status",
]
PATHS = (
    *[("spec", "template", "spec", "containers", 0, field) for field in FIELDS],
    *[("spec", "template", "spec", "containers", 0, "securityContext", field) for field in FIELDS],
    *[("spec", "template", "spec", "containers", 0, "env", 0, field) for field in FIELDS],
    *[("spec", "template", "spec", field) for field in FIELDS],
    *[("spec", "template", field) for field in FIELDS],
    *[("spec", "template", "metadata", field) for field in FIELDS],
    *[("spec", field) for field in FIELDS],
    *[("metadata", field) for field in FIELDS],
    *[(field,) for field in FIELDS],
)
WHOLE = {
    "metadata": {"labels": {}, "annotations": {}},
    "spec": {
        "template": {
            "metadata": {},
            "spec": {
                "securityContext": {"runAsUser": 5},
                "containers": [
                    {"env": [{"name": "A"}], "securityContext": {}, "resources": {}, "volumeMounts": [{"name": "x"}]}
                ],
            },
        }
    },
}


class TestHostileTemplates:
    """Whoever can make a flow run can write a template."""

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ({"metadata": 1}, "metadata is a number, not a mapping"),
            ({"metadata": {"labels": ["a"]}}, "metadata.labels is a list, not a mapping"),
            ({"spec": "x"}, "spec is a text, not a mapping"),
            (with_pod({"containers": {}}), "spec.template.spec.containers is a mapping, not a list"),
            (with_pod({"containers": [True]}), "spec.template.spec.containers[0] is true or false, not a mapping"),
            (with_flow({"env": {"A": "1"}}), "spec.template.spec.containers[0].env is a mapping, not a list"),
            (with_flow({"env": [{"name": 1}]}), "containers[0].env[0].name is a number, not a text"),
            (with_flow({"image": ["a"]}), "containers[0].image is a list, not a text"),
            (with_flow({"resources": {"limits": []}}), "containers[0].resources.limits is a list, not a mapping"),
            (with_pod({"securityContext": "no"}), "spec.template.spec.securityContext is a text, not a mapping"),
            (with_pod({"volumes": None, "initContainers": 5}), "spec.template.spec.initContainers is a number"),
            ({"kind": "Pod"}, "kind must be Job"),
            ({"spec": {"a": float("nan")}}, "spec.a is a number, not a value that JSON allows"),
            ({"spec": {"a": 1 << 70}}, "spec.a is a number, not a value that JSON allows"),
            ({"spec": {"a": {1: 2}}}, "a key of the job template's spec.a is a number"),
        ],
    )
    def test_sentence(self, template: dict[str, Any], message: str) -> None:
        """Nonsense is refused with a sentence that names the field."""
        with pytest.raises(SubmissionRefused) as caught:
            a_job(template=template)
        assert message in str(caught.value)

    @given(st.lists(st.tuples(st.sampled_from(PATHS), json_values), min_size=1, max_size=3), st.booleans())
    def test_anything(self, changes: list[tuple[tuple[Any, ...], Any]], from_run: bool) -> None:
        """Whatever stands wherever: a Job that is JSON with our name and mark, or SubmissionRefused; never changed."""
        template: Any = copy.deepcopy(WHOLE)
        for path, value in changes:
            spot = template
            for step in path[:-1]:
                try:
                    spot = spot[step]
                except (LookupError, TypeError):
                    break
            if isinstance(spot, dict):
                spot[path[-1]] = value
        before = repr(template)
        volumes = ({"name": "v", "emptyDir": {}},)
        try:
            made = a_job(a_submission(secret_env={"K": "hidden"}), template, from_run=from_run, volumes=volumes)
        except SubmissionRefused:
            made = None
        assert repr(template) == before
        if made is not None:
            assert "hidden" not in json.dumps(made, allow_nan=False)
            assert made["metadata"]["name"] == made["metadata"]["labels"][manifest.UNIT] == "prefect-x-1"

    def test_not_changed(self) -> None:
        """A template is used many times: no Job shares anything with it, or with the next."""
        template = copy.deepcopy(WHOLE)
        first = a_job(template=template, volumes=({"name": "v", "emptyDir": {}},))
        pod_of(first)["volumes"][0]["emptyDir"]["medium"] = "Memory"
        flow_of(first)["env"].append("x")
        assert template == WHOLE
        assert a_job(template=template) == a_job(template=copy.deepcopy(WHOLE))

    def test_check(self) -> None:
        """The agent's own template is tried at start, with the words of a flow run's refusal."""
        manifest.check(templates.BUILT_IN, defaults=JobDefaults())
        with pytest.raises(ConfigurationError, match=r"no flow run can use .* spec\.completions must be 1"):
            manifest.check({"spec": {"completions": 2}}, defaults=JobDefaults())
