"""Where Job templates come from, how they are read, and what is refused on the way."""

import contextlib
from typing import Any

import attrs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.kubernetes import fields, locations, templates
from prefect.agent.adapters.kubernetes.fields import BadTemplate
from prefect.agent.adapters.kubernetes.templates import BUILT_IN
from prefect.agent.domain.errors import ConfigurationError, PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.run_configs import KubernetesRun, RunConfig
from prefect.agent.domain.model.submissions import Submission
from support.kubernetes_jobs import a_submission

JOB = b"apiVersion: batch/v1\nkind: Job\nmetadata: {labels: {a: b}}\n"
MADE = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"labels": {"a": "b"}}}


def fetch(path: str) -> bytes:
    """Finds a Job everywhere but at ``nowhere``, and trouble at ``slow``."""
    if path == "slow":
        raise PlatformUnavailable("later")
    if path == "nowhere":
        raise BadTemplate("there is no such file")
    return JOB


class TestOrder:
    """Run config's template, run config's path, agent's path, built in."""

    def test_run(self) -> None:
        """The template itself wins over a path; an empty one counts as none; without either there is none."""
        inline = {"metadata": {"labels": {"mine": "1"}}}
        run = KubernetesRun(job_template=inline, job_template_path="nowhere")
        assert templates.of_run(run, fetch=fetch) == inline
        assert templates.of_run(KubernetesRun(job_template={}, job_template_path="p"), fetch=fetch) == MADE
        assert templates.of_run(KubernetesRun(), fetch=fetch) is None
        assert templates.of_run(RunConfig(), fetch=fetch) is None

    def test_agent(self) -> None:
        """The agent's path, else the built-in template: a Job with a container named flow."""
        assert templates.of_agent("p", fetch=fetch) == MADE
        assert templates.of_agent(None, fetch=fetch) == BUILT_IN
        assert templates.of_agent("", fetch=fetch) == BUILT_IN

    def test_refused(self) -> None:
        """A run's bad template is the run's failure and says which; the agent's is a matter of configuration."""
        with pytest.raises(
            SubmissionRefused, match=r"run config's job_template_path .* nowhere: there is no such file"
        ):
            templates.of_run(KubernetesRun(job_template_path="nowhere"), fetch=fetch)
        with pytest.raises(SubmissionRefused, match=r"run config's job_template cannot be used: .*kind must be Job"):
            templates.of_run(KubernetesRun(job_template={"kind": "Pod"}), fetch=fetch)
        with pytest.raises(ConfigurationError, match=r"agent's job template .* nowhere: there is no such file"):
            templates.of_agent("nowhere", fetch=fetch)

    def test_a_problem_that_passes(self) -> None:
        """A place that does not answer now refuses nothing."""
        with pytest.raises(PlatformUnavailable):
            templates.of_run(KubernetesRun(job_template_path="slow"), fetch=fetch)
        with pytest.raises(PlatformUnavailable):
            templates.of_agent("slow", fetch=fetch)


class TestYaml:
    """YAML as kubectl reads it, and nothing that executes, explodes or is not a Job."""

    def test_understood(self) -> None:
        """Aliases and merge keys work; a date is a text, as a label or annotation needs it."""
        text = b"metadata: {annotations: &a {day: 2020-01-01}, labels: {<<: *a, x: 'y'}}\nspec: {template: {spec: }}"
        day = {"day": "2020-01-01"}
        assert templates.parsed(text) == {
            "metadata": {"annotations": day, "labels": {**day, "x": "y"}},
            "spec": {"template": {"spec": None}},
        }
        assert yaml.safe_load("2020-01-01") != "2020-01-01", "other users of PyYAML keep their dates"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b"", "it is null, not the mapping of a Job"),
            (b"- a", "it is a list, not"),
            (b"password", "it is a text, not"),
            (b"kind: Deployment", "kind must be Job"),
            (b"kind: [Job]", "kind must be Job"),
            (b"apiVersion: batch/v1beta1", "apiVersion must be batch/v1"),
            (b"spec: []", "spec is a list, not a mapping"),
            (b"spec: {template: 1}", "spec.template is a number, not a mapping"),
            (b"spec: {template: {spec: a}}", "spec.template.spec is a text, not a mapping"),
            (b"kind: Job\n---\nkind: Job", "not one document of plain YAML (line 2"),
            (b"a: [", "not one document of plain YAML (line "),
            (b"a: !!python/object/apply:os.system [true]", "not one document of plain YAML"),
            (b"\xff\xff\xff", "it is not plain YAML"),
            (b"a: " + b"9" * 5000, "plain YAML"),
            (b"a: 0x" + b"f" * 5000, "a is a number, not a value that JSON allows"),
            (b"a: !!binary aGk=", "a is of the type bytes, not a value that JSON allows"),
            (b"a: !!binary hi", "plain YAML"),
            (b"a: .nan", "a is a number, not a value that JSON allows"),
            (b"a: !!timestamp 2020-99-99", "plain YAML"),
            (b"a: !!timestamp nonsense", "plain YAML"),
            (b"a: !!int nonsense", "plain YAML"),
            (b"a: !!int ''", "plain YAML"),
            (b"a: !!bool nonsense", "plain YAML"),
            (b"a: !!float ''", "plain YAML"),
            (b"a: {<<: [1]}", "plain YAML"),
            (b"? [a]\n: 1", "plain YAML"),
            (b"a: {1: 2}", "a key of the job template's a is a number"),
        ],
    )
    def test_refused(self, text: bytes, message: str) -> None:
        """A sentence, and a place if there is one."""
        with pytest.raises(BadTemplate) as caught:
            templates.parsed(text)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        "text", ["token: [hunter2", "hunter2", "%hunter2", "!hunter2 x", "*hunter2", "a: @hunter2"]
    )
    def test_shows_nothing(self, text: str) -> None:
        """A path may point to a file of secrets: no part of it appears in the refusal, nor in what led to it."""
        with pytest.raises(SubmissionRefused) as caught:
            templates.of_run(KubernetesRun(job_template_path="p"), fetch=lambda _: text.encode())
        error: BaseException | None = caught.value
        while error is not None:
            assert "hunter2" not in str(error)
            error = error.__cause__

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b"[" * 100_000, "nested more than 50"),
            (b"a: " + b"[" * 51 + b"]" * 51, "nested more than 50"),
            (b"a: &a [*a]", "nested more than 50"),
            (b"a: &a {b: *a}", "nested more than 50"),
            (b"a: &a {<<: *a}", "nested more than 50"),
            (b"a: [" + b"1," * 30_000 + b"]", "too large"),
            (b"x" * (locations.MAX_BYTES + 1), "larger than 1024 KiB"),
            (
                b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
                + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)),
                "too large",
            ),
            (
                b"a0: &a0 {x: y}\n"
                + b"".join(
                    b"a%d: &a%d {<<: [%s]}\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)
                ),
                "too large",
            ),
            (b"a: &a " + b"x" * 500_000 + b"\nb: [" + b"*a," * 10_000 + b"]", "too large"),
        ],
        ids=[
            "brackets",
            "deep",
            "loop",
            "mapping loop",
            "merge loop",
            "long",
            "big",
            "bomb",
            "merge bomb",
            "text bomb",
        ],
    )
    def test_bombs(self, text: bytes, message: str) -> None:
        """What would become large is stopped before it is."""
        with pytest.raises(BadTemplate, match=message):
            templates.parsed(text)

    def test_long_keys(self) -> None:
        """Long keys cost what they are long, not that times the values below them; an error shows their beginning."""
        with pytest.raises(BadTemplate, match=r"k{50,120}\S* is a number"):
            templates.checked({"k" * 1_000_000: {str(number): number for number in range(9_000)} | {"z": 1 << 70}})

    @given(st.binary(max_size=40) | st.text(alphabet="a:{}[]&*!<- \n\t'\"%@`|>?#,.~0x1_=", max_size=40).map(str.encode))
    def test_anything(self, text: bytes) -> None:
        """Whatever the bytes: a template or BadTemplate."""
        with contextlib.suppress(BadTemplate):
            assert isinstance(templates.parsed(text), dict)


def test_limits() -> None:
    """The limits are those of the documentation."""
    assert (fields.MAX_NESTING, fields.MAX_NODES, locations.MAX_BYTES) == (50, 20_000, 1 << 20)


class TestFetchingAhead:
    """A template that is somewhere else is fetched before its unit is created."""

    def of(self, name: str, **config: Any) -> Submission:
        """A submission with that run config."""
        return attrs.evolve(a_submission(KubernetesRun(**config)), name=name)

    def test_it_is_fetched_once(self) -> None:
        """The create has it at hand, also if it is repeated; one that was not prepared fetches it itself."""
        asked: list[str] = []

        def recorded(path: str) -> bytes:
            asked.append(path)
            return fetch(path)

        found = templates.TemplatesOfRuns(fetch=recorded)
        run = self.of("unit", job_template_path="p")
        found.fetch(run)
        assert asked == ["p"]
        assert [found.of(run), found.of(run)] == [MADE, MADE]
        assert asked == ["p"]
        found.forget(run)
        assert found.of(run) == MADE
        assert asked == ["p", "p"]

    def test_nothing_else_is_fetched(self) -> None:
        """No template, or one that the run brings along."""
        found = templates.TemplatesOfRuns(fetch=pytest.fail)
        for run in (self.of("a"), self.of("b", job_template=MADE, job_template_path="p")):
            found.fetch(run)
        assert found.of(self.of("a")) is None

    def test_errors_are_those_of_the_create(self) -> None:
        """A bad template is the run's failure, before anything is made; what passes is unavailable."""
        found = templates.TemplatesOfRuns(fetch=fetch)
        with pytest.raises(SubmissionRefused, match="there is no such file"):
            found.fetch(self.of("unit", job_template_path="nowhere"))
        with pytest.raises(PlatformUnavailable):
            found.fetch(self.of("unit", job_template_path="slow"))

    def test_what_is_never_created_does_not_pile_up(self) -> None:
        """The oldest templates are forgotten; their creates fetch them again."""
        found = templates.TemplatesOfRuns(fetch=fetch)
        for number in range(templates.MOST_FETCHED + 5):
            found.fetch(self.of(f"unit-{number}", job_template_path="p"))
        assert len(found._fetched) == templates.MOST_FETCHED
        assert found.of(self.of("unit-0", job_template_path="p")) == MADE
