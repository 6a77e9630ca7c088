"""Builds the pod of a flow run's Job from run config, template and agent, in order of precedence. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes.fields import BadTemplate, TemplateSection, plain_copy
from prefect.agent.adapters.kubernetes.pod_security import restrict
from prefect.agent.domain.model.run_configs import KubernetesRun
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.variable_names import is_reserved

CONTAINER: Final = "flow"
"""Name of the container that runs the flow; if a template has none with that name, its first one does."""

HOME: Final = "/tmp"  # noqa: S108 - inside the container
"""Home directory of a user that the image does not have, since the image's own belongs to root."""


@attrs.frozen(kw_only=True)
class JobDefaults:
    """The agent's defaults for every Job.

    Attributes:
        volumes: Volumes of the pod (Kubernetes' ``Volume``), added unless the template has one with that name.
        volume_mounts: Mounts of the flow's container, added unless the template mounts something there.
        ttl_seconds: Seconds after a Job's end at which Kubernetes itself deletes it; None for never.
        restricted: Whether to add the settings of the restricted Pod Security Standard that the template lacks.
    """

    namespace: str = "default"
    service_account_name: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: str | None = None
    cpu_request: str | None = None
    cpu_limit: str | None = None
    memory_request: str | None = None
    memory_limit: str | None = None
    volumes: tuple[Mapping[str, Any], ...] = ()
    volume_mounts: tuple[Mapping[str, Any], ...] = ()
    ttl_seconds: int | None = 86_400
    restricted: bool = True


@attrs.frozen
class SecretReference:
    """The Secret with the secret variables.

    Attributes:
        name: Name of a Secret in the Job's namespace.
        key: The key for all of them; None if each variable has the key of its own name.
    """

    name: str
    key: str | None = None


def fill(
    pod: TemplateSection,
    submission: Submission,
    *,
    from_run: bool,
    defaults: JobDefaults,
    secret: SecretReference | None,
) -> str:
    """Turn *pod*, the PodSpec of a template, into that of *submission*; return the name of the flow's container.

    Args:
        from_run: Whether the template is the run config's own.

    Raises:
        BadTemplate: A field is invalid; the message names it.
    """
    config = submission.run_config if isinstance(submission.run_config, KubernetesRun) else KubernetesRun()
    pod.default("restartPolicy", "Never")
    _fill_accounts(pod, config, from_run=from_run, defaults=defaults)
    _append(pod, "volumes", defaults.volumes, "name")
    flow = _flow_container(pod)
    image = _image(flow, submission)
    flow.data.update(image=image, args=[_word(word) for word in submission.command])
    _prefer(flow, "imagePullPolicy", config.image_pull_policy, defaults.image_pull_policy)
    _fill_resources(flow.section("resources"), config, defaults)
    _append(flow, "volumeMounts", defaults.volume_mounts, "mountPath")
    if from_run:
        _drop_reserved(flow, submission)
    env = _env(flow, submission, image, secret)
    if defaults.restricted and restrict(pod, flow) and all(entry.get("name") != "HOME" for entry in env):
        env.append({"name": "HOME", "value": HOME})
    flow.data["env"] = env
    return str(flow.data["name"])


def _fill_accounts(pod: TemplateSection, config: KubernetesRun, *, from_run: bool, defaults: JobDefaults) -> None:
    """Set service account and pull secrets of run config, else its own template, else agent, else agent's template."""
    account = pod.text("serviceAccountName") or pod.text("serviceAccount")
    keep = account if from_run else None
    account = config.service_account_name or keep or defaults.service_account_name or account
    if account:
        pod.data["serviceAccountName"] = account
        pod.data.pop("serviceAccount", None)  # the old name of the same field
    has_own = from_run and bool(pod.entries("imagePullSecrets"))
    secrets = config.image_pull_secrets or (() if has_own else defaults.image_pull_secrets)
    if secrets:
        pod.data["imagePullSecrets"] = [{"name": name} for name in secrets]


def _flow_container(pod: TemplateSection) -> TemplateSection:
    """Return the container named ``flow``, else the first one; create and name it if the template does not."""
    if not pod.entries("containers"):
        pod.data["containers"] = [{}]
    containers = pod.entries("containers")
    flow = next((each for each in containers if each.text("name") == CONTAINER), containers[0])
    if flow.text("name") is None:
        flow.data["name"] = CONTAINER
    return flow


def _image(flow: TemplateSection, submission: Submission) -> str:
    own = flow.text("image")
    image = (own or submission.image) if submission.image_is_default else (submission.image or own)
    if not image:
        raise BadTemplate(
            f"there is no image: neither the flow run nor the job template's {flow.at('image')} names one"
        )
    return image


def _prefer(section: TemplateSection, key: str, asked: str | None, default: str | None) -> None:
    """Set *key* to the run config's value, else the template's, else the agent's default."""
    if asked is not None:
        section.data[key] = asked
    section.default(key, default)


def _fill_resources(resources: TemplateSection, config: KubernetesRun, defaults: JobDefaults) -> None:
    requests, limits = resources.section("requests"), resources.section("limits")
    _prefer(requests, "cpu", config.cpu_request, defaults.cpu_request)
    _prefer(requests, "memory", config.memory_request, defaults.memory_request)
    _prefer(limits, "cpu", config.cpu_limit, defaults.cpu_limit)
    _prefer(limits, "memory", config.memory_limit, defaults.memory_limit)


def _append(section: TemplateSection, key: str, items: Iterable[Mapping[str, Any]], identity: str) -> None:
    """Add *items* to the list of *key*, except those that the template already has."""
    known = [entry.get(identity) for entry in section.entries(key)]
    added = [plain_copy(item) for item in items if item.get(identity) not in known]
    if added:
        section.data[key] = [*(section.get(key) or []), *added]


def reserved_in(pod: TemplateSection, submission: Submission) -> list[str]:
    """Return the variables of the flow's container that a run may not set and the agent does not set; sorted."""
    ours = {*submission.env, *submission.secret_env}
    names = {entry.text("name") or "" for flow in pod.entries("containers")[:1] for entry in flow.entries("env")}
    return sorted(name for name in names - ours if is_reserved(name, submission.reserved))


def _drop_reserved(flow: TemplateSection, submission: Submission) -> None:
    kept = [each.data for each in flow.entries("env") if not is_reserved(each.text("name") or "", submission.reserved)]
    if len(kept) != len(flow.entries("env")):
        flow.data["env"] = kept


def _env(
    flow: TemplateSection, submission: Submission, image: str, secret: SecretReference | None
) -> list[dict[str, Any]]:
    """Return the agent's variables, then the secret ones by reference, then the template's other ones unchanged."""
    hidden = submission.secret_env
    plain = {name: value for name, value in submission.env.items() if name not in hidden}
    if submission.image_variable and submission.image_variable not in hidden:
        plain[submission.image_variable] = image
    env: list[dict[str, Any]] = [{"name": name, "value": _value(value)} for name, value in plain.items()]
    if hidden:
        if secret is None:
            raise ValueError("secret variables need a Secret to refer to")
        for name in hidden:
            reference = {"name": secret.name, "key": name if secret.key is None else secret.key}
            env.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    own = [entry.data for entry in flow.entries("env") if entry.text("name") not in {*plain, *hidden}]
    return [*env, *own]


def _value(text: str) -> str:
    """Escape ``$$``, which Kubernetes would halve; references (``$(NAME)``) stay references."""
    return re.sub(r"\${2,}(?![$(])", lambda dollars: dollars[0] * 2, text)


def _word(text: str) -> str:
    """Escape a word of the command, so that Kubernetes replaces no references in it."""
    return text.replace("$", "$$") if "$$" in text or "$(" in text else text
