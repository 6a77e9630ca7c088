"""The variables of a Job: which there are, and where they come from."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.kubernetes import manifest, templates
from prefect.agent.adapters.kubernetes.manifest import JobDefaults, SecretReference
from support.kubernetes_jobs import OWN, a_job, a_submission, flow_of, with_flow, with_pod


class TestEnvironment:
    """The list of variables, and the Secret."""

    def test_secrets(self) -> None:
        """Secrets come by reference, after the plain ones; nothing of the same name from anybody else survives."""
        submission = a_submission(env={"KEY": "mine", "A": "1"}, secret_env={"KEY": "k", "TOKEN": "t"})
        template = with_flow({"env": [{"name": "TOKEN", "value": "mine"}, {"name": "B", "value": "2"}]})
        env = flow_of(a_job(submission, template, restricted=False))["env"]
        assert env == [
            {"name": "A", "value": "1"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": OWN.name, "key": "KEY"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": OWN.name, "key": "TOKEN"}}},
            {"name": "B", "value": "2"},
        ]

    def test_one_key(self) -> None:
        """A reference with a key is for all secrets, and not noted: the Secret is not the Job's."""
        submission = a_submission(secret_env={"KEY": "k", "TOKEN": "k"})
        reference = SecretReference("prefect-agent", "api-key")
        made = manifest.job(
            submission, templates.BUILT_IN, from_run=False, defaults=JobDefaults(restricted=False), secret=reference
        )
        wanted = {"secretKeyRef": {"name": "prefect-agent", "key": "api-key"}}
        assert flow_of(made)["env"] == [{"name": name, "valueFrom": wanted} for name in ("KEY", "TOKEN")]
        assert manifest.SECRET not in made["metadata"]["annotations"]

    def test_no_reference(self) -> None:
        """A secret without a place to be is a bug of the caller, and never a plain value."""
        with pytest.raises(ValueError, match="need a Secret"):
            manifest.job(
                a_submission(secret_env={"KEY": "k"}),
                templates.BUILT_IN,
                from_run=False,
                defaults=JobDefaults(),
                secret=None,
            )

    @given(st.text(alphabet="0123456789abcdef", min_size=16, max_size=40), st.booleans())
    def test_never_shown(self, value: str, restricted: bool) -> None:
        """A secret is nowhere in the Job."""
        submission = a_submission(env={"KEY": "plain"}, secret_env={"KEY": value, f"K{value[:3]}": value})
        assert value not in json.dumps(a_job(submission, restricted=restricted))
        assert value not in repr(submission)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a$b", "a$b"),
            ("a$$b$", "a$$$$b$"),
            ("$$$", "$$$$$$"),
            ("$(A)", "$(A)"),
            ("$$(A)", "$$(A)"),
            ("$$ $$(A)", "$$$$ $$(A)"),
        ],
    )
    def test_dollars(self, text: str, expected: str) -> None:
        """Kubernetes halves ``$$``, so it is doubled; references to other variables stay Kubernetes' own."""
        assert flow_of(a_job(a_submission(env={"A": text})))["env"][0] == {"name": "A", "value": expected}

    def test_command(self) -> None:
        """The command are the container's arguments, word by word, so that the image's entry point runs."""
        flow = flow_of(a_job(a_submission(command=("sh", "-c", "echo $$ $(A) $b"))))
        assert flow["args"] == ["sh", "-c", "echo $$$$ $$(A) $$b"]
        assert "command" not in flow

    def test_secret(self) -> None:
        """The Secret belongs to the Job, carries its labels, cannot be changed, and holds the values by name."""
        submission = a_submission(secret_env={"KEY": "ké", "ODD": "\udc80"})
        assert manifest.secret(submission, name="s", job_name="j", job_uid="u") == {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "immutable": True,
            "metadata": {
                "name": "s",
                "labels": a_job(submission)["metadata"]["labels"],
                "ownerReferences": [
                    {
                        "apiVersion": "batch/v1",
                        "kind": "Job",
                        "name": "j",
                        "uid": "u",
                        "controller": False,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "data": {
                "KEY": base64.b64encode("ké".encode()).decode(),
                "ODD": base64.b64encode("\udc80".encode(errors="surrogatepass")).decode(),
            },
        }

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://localhost:4200", ["API"]),
            ("http://127.9.9.9:4200/graphql", ["API"]),
            ("http://[::1]:4200", ["API"]),
            ("http://0.0.0.0:4200", ["API"]),
            ("http://[::]:4200", ["API"]),
            ("http://localhost.localdomain:4200", ["API"]),
            ("http://ip6-localhost:4200", ["API"]),
            ("http://api.test:4200", []),
            ("http://10.0.0.1:4200", []),
            ("http://[", []),
            ("localhost", []),
        ],
    )
    def test_unreachable(self, url: str, expected: list[str]) -> None:
        """A loopback address is the pod's own there, unless the pod is on its node's network."""
        submission = a_submission(
            env={"API": url, "MINE": "http://localhost"}, address_variables=frozenset({"API", "GONE"})
        )
        assert manifest.unreachable_addresses(submission) == expected
        assert manifest.unreachable_addresses(submission, a_job(submission)) == expected
        assert manifest.unreachable_addresses(submission, {"spec": "nonsense"}) == expected
        on_the_node = with_pod({"hostNetwork": True})
        assert manifest.unreachable_addresses(submission, on_the_node) == []
        assert manifest.unreachable_addresses(submission, a_job(submission, on_the_node)) == []
