"""Finds what a run config demands of the cluster: its Job compared to that of a run without one. Pure.

No function trusts its input; values of the wrong kind are skipped, since the API server refuses them.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes.origins import flow_of, of_the_flow, of_the_run
from prefect.agent.domain.model.demands import Demands, host_path, leads_to_a_socket
from prefect.agent.domain.model.images import image_reference

Object = Mapping[str, Any]

OWN_RULES: Final = frozenset(
    {
        "hostIPC", "hostNetwork", "hostPID", "imagePullSecrets", "nodeName", "serviceAccount",
        "serviceAccountName", "volumes",
    }
)  # fmt: skip
"""Fields of a pod whose values have rules of their own."""

USUAL: Final = frozenset(
    {
        "args", "command", "env", "envFrom", "image", "imagePullPolicy", "lifecycle", "livenessProbe", "name", "ports",
        "readinessProbe", "resources", "restartPolicy", "securityContext", "startupProbe", "stdin", "stdinOnce",
        "terminationMessagePath", "terminationMessagePolicy", "tty", "volumeMounts", "workingDir",
    }
)  # fmt: skip
"""Fields of a container that grant no rights by themselves, or that have rules of their own."""

OF_A_JOB: Final = frozenset(
    {
        "activeDeadlineSeconds", "backoffLimit", "backoffLimitPerIndex", "completionMode", "completions",
        "maxFailedIndexes", "parallelism", "podFailurePolicy", "podReplacementPolicy", "suspend", "template",
        "ttlSecondsAfterFinished",
    }
)  # fmt: skip

GUARDS: Final = (
    "affinity", "automountServiceAccountToken", "hostUsers", "nodeSelector", "priorityClassName", "runtimeClassName",
    "schedulerName", "securityContext", "serviceAccountName",
)  # fmt: skip
"""Fields by which the operator's template restricts pods; a run's own template may lack them."""

_COMPUTE: Final = ("cpu", "memory", "ephemeral-storage", "hugepages-")
_APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"


def asked_of_the_cluster(basis: Demands, wanted: Object, given: Object, template: Object, *, account: str) -> Demands:
    """Return *basis* with the demands on the cluster added.

    Args:
        wanted: The Job of this run.
        given: The Job that a run without a run config would get.
        template: The agent's own template, as the operator wrote it.
        account: The agent's own service account; empty if it is not known.
    """
    asking, entitled = of_the_run(wanted, given), of_the_flow(given)

    def new(read: Callable[[Object], frozenset[str]]) -> frozenset[str]:
        return read(asking) - read(entitled)

    own = {image_reference(str(each["image"])) for each in _containers(template) if each.get("image")}
    return attrs.evolve(
        basis,
        images=_images(wanted) - own,
        environment=basis.environment | new(_environment),
        engine_sockets=frozenset(path for path in new(_host_paths) if leads_to_a_socket(path)),
        agent_account=new(_service_accounts) & {account},
        pod_fields=_pod_fields(asking, entitled) | _lost(asking, entitled, template),
        image_sources=new(_image_sources),
        host_paths=new(_host_paths),
        volumes=new(_kinds_of_volumes),
        privileges=new(_privileges),
        capabilities=new(_capabilities),
        devices=new(_devices),
        host_namespaces=new(_host_namespaces),
        networks=new(_networks),
        security_options=new(_security_options),
        namespaces=new(_namespaces),
        service_accounts=new(_service_accounts),
        secrets=_secrets(asking, entitled),
        owner_references=new(_owner_references),
        finalizers=new(_finalizers),
        nodes=new(_nodes),
    )


def _pod_fields(wanted: Object, given: Object) -> frozenset[str]:
    """Return the fields without a rule of their own whose values differ."""
    pod, own = _pod(wanted), _pod(given)
    found = {name for name, value in pod.items() if value is not None and value != own.get(name)} - OWN_RULES
    found |= {f"containers.{name}" for name, _ in _unusual(wanted) - _unusual(given)}
    return frozenset(found | {f"job.{name}" for name in _spec(wanted).keys() - _spec(given).keys() - OF_A_JOB})


def _unusual(job: Object) -> set[tuple[str, str]]:
    pairs = [pair for container in _containers(job) for pair in container.items()]
    return {(name, str(value)) for name, value in pairs if value is not None and name not in USUAL}


def _lost(wanted: Object, given: Object, template: Object) -> frozenset[str]:
    """Return the restrictions of the agent's template that the run's own template drops or changes."""
    with_it, without, written = _pod(wanted), _pod(given), _pod(template)
    changed = {field for field in GUARDS if written.get(field) is not None and with_it.get(field) != without.get(field)}
    if with_it.get("serviceAccountName"):
        changed.discard("serviceAccountName")  # another one has a rule of its own
    before = flow_of(given).get("securityContext")
    if flow_of(template).get("securityContext") and any(
        each.get("securityContext") != before for each in _containers(wanted)
    ):
        changed.add("containers.securityContext")
    return frozenset(f"without/{field}" for field in changed)


# --- readers: what a Job has, one rule each ---


def _images(job: Object) -> frozenset[str]:
    sources = [_map(volume.get("image")).get("reference") for volume in _volumes(job)]
    found = [each.get("image") for each in _containers(job)] + sources
    return frozenset(image_reference(str(each)) for each in found if each)


def _image_sources(job: Object) -> frozenset[str]:
    never = [each.get("imagePullPolicy") == "Never" for each in _containers(job)]
    return frozenset({"local"} if any(never) else ()) | frozenset({"pulled"} if not all(never) else ())


def _environment(job: Object) -> frozenset[str]:
    return frozenset(str(each.get("name")) for container in _containers(job) for each in _maps(container, "env"))


def _host_paths(job: Object) -> frozenset[str]:
    return frozenset(
        host_path(str(_map(volume["hostPath"]).get("path"))) for volume in _volumes(job) if volume.get("hostPath")
    )


def _kinds_of_volumes(job: Object) -> frozenset[str]:
    found: set[str] = set()
    for volume in _volumes(job):
        for kind in volume.keys() - {"name", "hostPath", "secret", "projected"}:
            found.add(_volume(kind, _map(volume[kind])))
        for source in _maps(_map(volume.get("projected")), "sources"):
            found |= {_volume(kind, _map(source[kind])) for kind in source.keys() - {"secret"}}
    return frozenset(found)


def _volume(kind: str, about: Object) -> str:
    names = {"configMap": "name", "persistentVolumeClaim": "claimName", "csi": "driver", "image": "reference"}
    return f"{kind}/{about.get(names[kind])}" if kind in names else kind


def _secrets(wanted: Object, given: Object) -> frozenset[str]:
    """Return the Secrets with a use that *given* lacks: the right to one key does not include the whole Secret."""
    return frozenset(name for name, _ in _uses_of_secrets(wanted) - _uses_of_secrets(given))


def _uses_of_secrets(job: Object) -> frozenset[tuple[str, str]]:
    found: list[tuple[object, str]] = [(each.get("name"), "pull") for each in _maps(_pod(job), "imagePullSecrets")]
    for container in _containers(job):
        found += [(_map(each.get("secretRef")).get("name"), "all") for each in _maps(container, "envFrom")]
        references = [_map(_map(each.get("valueFrom")).get("secretKeyRef")) for each in _maps(container, "env")]
        found += [(each.get("name"), f"key {each.get('key')}") for each in references]
    for volume in _volumes(job):
        about = json.dumps({**volume, "name": ""}, sort_keys=True, default=str)
        found += [(name, about) for name in _named_secrets(volume)]
    return frozenset((str(name), use) for name, use in found if name)


def _named_secrets(value: object) -> Iterator[object]:
    """Yield the names of Secrets anywhere in a volume, since each kind of volume names them in its own way."""
    if isinstance(value, list):
        for each in value:
            yield from _named_secrets(each)
    if not isinstance(value, Mapping):
        return
    for key, below in value.items():
        if key == "secretName":
            yield below
        elif key == "secret" or key.lower().endswith("secretref"):
            yield _map(below).get("name")
        yield from _named_secrets(below)


def _privileges(job: Object) -> frozenset[str]:
    found: set[str] = set()
    for context in _contexts(job):
        found |= {"privileged"} if context.get("privileged") else set()
        found |= {"escalation"} if context.get("allowPrivilegeEscalation") else set()
        found |= {"host-process"} if _map(context.get("windowsOptions")).get("hostProcess") else set()
        user = context.get("runAsUser")
        found |= {"root"} if user == 0 and user is not False else set()
    return frozenset(found)


def _capabilities(job: Object) -> frozenset[str]:
    lists = [_map(context.get("capabilities")).get("add") for context in _contexts(job)]
    names = [str(name) for each in lists if isinstance(each, list) for name in each]
    return frozenset(name.upper().removeprefix("CAP_") for name in names)


def _devices(job: Object) -> frozenset[str]:
    resources = [_map(container.get("resources")) for container in _containers(job)]
    names = {name for each in resources for kind in ("limits", "requests") for name in _map(each.get(kind))}
    blocks = {str(each.get("devicePath")) for one in _containers(job) for each in _maps(one, "volumeDevices")}
    return frozenset({f"resource/{name}" for name in names if not name.startswith(_COMPUTE)} | blocks)


def _host_namespaces(job: Object) -> frozenset[str]:
    fields = {"hostPID": "pid", "hostIPC": "ipc", "hostNetwork": "network"}
    return frozenset(name for field, name in fields.items() if _pod(job).get(field))


def _networks(job: Object) -> frozenset[str]:
    ports = [each.get("hostPort") for container in _containers(job) for each in _maps(container, "ports")]
    asked = {f"probe/{host}" for container in _containers(job) for host in _probed(container)}
    return frozenset({f"port/{port}" for port in ports if port} | asked)


def _probed(container: Object) -> list[object]:
    """Return the hosts of probes, which the node calls from its own network."""
    hooks = _map(container.get("lifecycle"))
    probes = [_map(container.get(name)) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
    probes += [_map(hooks.get(name)) for name in ("postStart", "preStop")]
    hosts = [_map(each.get(kind)).get("host") for each in probes for kind in ("httpGet", "tcpSocket")]
    return [host for host in hosts if host]


def _security_options(job: Object) -> frozenset[str]:
    found: set[str] = set()
    for context in _contexts(job):
        for field, name in (("seccompProfile", "seccomp"), ("appArmorProfile", "apparmor")):
            kind = _map(context.get(field)).get("type")
            found |= {f"{name}={kind}"} if kind else set()
        options = _map(context.get("seLinuxOptions"))
        found |= {f"selinux={options.get('type') or 'custom'}"} if options else set()
        proc = context.get("procMount")
        found |= {f"procMount={proc}"} if proc and proc != "Default" else set()
        found |= {f"sysctl={each.get('name')}" for each in _maps(context, "sysctls")}
    notes = _map(_map(_map(_spec(job).get("template")).get("metadata")).get("annotations"))
    found |= {f"apparmor={value}" for name, value in notes.items() if name.startswith(_APPARMOR)}
    return frozenset(found)


def _namespaces(job: Object) -> frozenset[str]:
    return _texts(_map(job.get("metadata")).get("namespace"))


def _service_accounts(job: Object) -> frozenset[str]:
    return _texts(_pod(job).get("serviceAccountName")) | _texts(_pod(job).get("serviceAccount"))


def _owner_references(job: Object) -> frozenset[str]:
    found = [each for metadata in _metadatas(job) for each in _maps(metadata, "ownerReferences")]
    return frozenset(f"{each.get('kind')}/{each.get('name')}" for each in found)


def _finalizers(job: Object) -> frozenset[str]:
    lists = [metadata.get("finalizers") for metadata in _metadatas(job)]
    return frozenset(str(name) for each in lists if isinstance(each, list) for name in each)


def _nodes(job: Object) -> frozenset[str]:
    return _texts(_pod(job).get("nodeName"))


# --- walking ---


def _spec(job: Object) -> Object:
    return _map(job.get("spec"))


def _pod(job: Object) -> Object:
    return _map(_map(_spec(job).get("template")).get("spec"))


def _metadatas(job: Object) -> list[Object]:
    return [_map(job.get("metadata")), _map(_map(_spec(job).get("template")).get("metadata"))]


def _containers(job: Object) -> list[Object]:
    names = ("containers", "initContainers", "ephemeralContainers")
    return [each for name in names for each in _maps(_pod(job), name)]


def _contexts(job: Object) -> list[Object]:
    """Return the security contexts of the pod and of each container."""
    return [_map(each.get("securityContext")) for each in (_pod(job), *_containers(job))]


def _volumes(job: Object) -> list[Object]:
    return _maps(_pod(job), "volumes")


def _map(value: object) -> Object:
    return value if isinstance(value, Mapping) else {}


def _maps(mapping: Object, key: str) -> list[Object]:
    value = mapping.get(key)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _texts(value: object) -> frozenset[str]:
    return frozenset({str(value)}) if value else frozenset()
