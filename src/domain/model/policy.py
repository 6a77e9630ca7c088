"""The operator's policy says what flow authors may ask for: a pure function over the demands of a unit."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.images import HUB, image_name, is_host
from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.model.template_paths import PUBLIC, is_listed, is_place
from prefect.agent.domain.model.variable_names import plain_name
from prefect.agent.domain.texts import did_you_mean, nearest

RULES: Final[Mapping[str, str]] = {
    "images": "the image",
    "registries": "an image of another registry,",
    "image_sources": "an image whose source is",
    "environment": "the environment variable",
    "host_paths": "the host's path",
    "engine_sockets": "the way to an engine's socket,",
    "volumes": "the volume",
    "host_config": "the host_config key",
    "privileges": "the privilege",
    "capabilities": "the added capability",
    "devices": "the device",
    "host_namespaces": "the namespace of the host or of another unit,",
    "networks": "the network",
    "security_options": "the security option",
    "namespaces": "the Kubernetes namespace",
    "service_accounts": "the service account",
    "agent_account": "the agent's own service account",
    "secrets": "the Secret",
    "owner_references": "the owner reference",
    "finalizers": "the finalizer",
    "nodes": "the node",
    "pod_fields": "the pod's field",
    "template_paths": "a job template from",
}
"""By name of a rule: what it judges, for a refusal. All but ``registries`` are attributes of ``Demands``."""

OWN: Final = "preset"
"""In a list of patterns: those of the preset."""

_SHOWN: Final = 200
"""Characters of a value that a refusal repeats."""

_MOST_SHOWN: Final = 5
"""Values that a refusal names."""

_EVERYTHING: Final = "*"


REFUSES: Final = "this agent's policy does not allow"
"""Begins the reason of every refusal."""


@attrs.frozen
class Patterns:
    """Patterns say what one rule allows and denies.

    Attributes:
        allow: ``*`` stands for everything except a slash, ``**`` for everything; ``*`` alone allows all.
        deny: Wins over *allow*. Here ``*`` stands for everything.
    """

    allow: tuple[str, ...] = (_EVERYTHING,)
    deny: tuple[str, ...] = ()

    @classmethod
    def of(cls, words: Sequence[str]) -> "Patterns":
        """Read patterns from a list in which ``!`` marks what is denied."""
        allow = tuple(word for word in words if not word.startswith("!"))
        deny = tuple(word[1:] for word in words if word.startswith("!"))
        return cls(allow if allow or not deny else (_EVERYTHING,), deny)

    @property
    def words(self) -> list[str]:
        """Return the list that :meth:`of` reads."""
        return [*self.allow, *(f"!{word}" for word in self.deny)]

    def take(self, spellings: Iterable[str]) -> bool:
        """Return whether a value with these *spellings* is allowed."""
        names = list(spellings)
        if any(_matches(word, name, "**") for word in self.deny for name in names):
            return False
        return _EVERYTHING in self.allow or any(_matches(word, name, word) for word in self.allow for name in names)


def _matches(pattern: str, name: str, star: str) -> bool:
    """Return whether *name* matches; if *star* is ``**``, each star stands for everything."""
    pieces = re.split(r"(\*\*?)", pattern)
    stars = {"**": ".*", "*": ".*" if star == "**" else "[^/]*"}
    return re.fullmatch("".join(stars.get(piece, re.escape(piece)) for piece in pieces), name, re.DOTALL) is not None


@attrs.frozen(kw_only=True)
class Policy:
    """A policy holds the rules of one agent.

    Attributes:
        preset: ``open`` or ``restricted``: what applies where *rules* has nothing.
        rules: By name, from :data:`RULES`.
    """

    preset: str = "open"
    rules: Mapping[str, Patterns] = attrs.field(factory=dict, converter=frozen_mapping)

    @classmethod
    def read(cls, document: object) -> "Policy":
        """Return the policy that *document* describes: ``preset``, and a list of patterns for each rule that differs.

        Raises:
            ConfigurationError: A key is unknown, or a value of the wrong kind; the message names it.
        """
        if not isinstance(document, Mapping):
            raise ConfigurationError(f"a policy is a mapping with the key {OWN!r}, such as 'preset: restricted'")
        preset = document.get(OWN)
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ConfigurationError(f"the policy's {OWN} is {preset!r:.40}; it is one of {', '.join(PRESETS)}")
        given = {key: value for key, value in document.items() if key != OWN}
        return cls(preset=preset, rules={_known(key): _patterns(preset, key, value) for key, value in given.items()})

    def patterns(self, rule: str) -> Patterns:
        """Return the patterns of *rule*."""
        return self.rules.get(rule) or PRESETS[self.preset][rule]

    def replacing(self, rule: str, words: Sequence[str]) -> "Policy":
        """Return this policy with other patterns for one rule; :data:`OWN` in *words* stands for its present patterns.

        Raises:
            ConfigurationError: A word is no place for a template.
        """
        own = self.patterns(rule).words
        found = [each for word in words for each in (own if word == OWN else [word])]
        bad = next((each for each in found if rule == "template_paths" and not is_place(each)), None)
        if bad is not None:
            raise ConfigurationError(
                f"{bad!r:.200} is no place for the policy's rule 'template_paths': give {PUBLIC}, an absolute path, "
                "or an address such as https://host/folder or s3://bucket/folder"
            )
        return attrs.evolve(self, rules={**self.rules, rule: Patterns.of(list(dict.fromkeys(found)))})

    @property
    def template_paths(self) -> tuple[str, ...]:
        """Return the places where run configs may have their templates."""
        return self.patterns("template_paths").allow

    @property
    def is_open(self) -> bool:
        """Return whether only templates from elsewhere are refused: then no platform has to be asked."""
        return all(self.patterns(rule) == Patterns() for rule in RULES if rule != "template_paths")

    @property
    def fingerprint(self) -> str:
        """Return a text that is equal for policies that allow the same; empty for the preset ``open``."""
        changed = {rule: self.patterns(rule).words for rule in RULES if self.patterns(rule) != PRESETS["open"][rule]}
        return ";".join(f"{rule}={','.join(sorted(words))}" for rule, words in sorted(changed.items()))


def judge(policy: Policy, demands: Demands) -> str | None:
    """Return why *policy* does not allow *demands*, naming each rule and what to change; None if it does."""
    found = [(rule, refused) for rule in RULES if (refused := _refused(policy, rule, demands))]
    if not found:
        return None
    reasons = [f"rule {rule}: {_shown(rule, values, quotable=demands.quotable)}" for rule, values in found]
    more = "" if len(reasons) <= _MOST_SHOWN else f"; and {len(reasons) - _MOST_SHOWN} rules more"
    rules = ", ".join(rule for rule, _ in found[:_MOST_SHOWN])
    return (
        f"{REFUSES} what the flow run asks for ({'; '.join(reasons[:_MOST_SHOWN])}{more}). "
        f"Take it out of the run config, or let the operator list it in the agent's policy, under {rules}"
    )


def _refused(policy: Policy, rule: str, demands: Demands) -> list[str]:
    values: frozenset[str] = demands.images if rule == "registries" else getattr(demands, rule)
    patterns = policy.patterns(rule)
    if rule == "template_paths":
        return sorted(path for path in values if not is_listed(path, patterns.allow))
    if rule == "registries":
        patterns = Patterns(tuple(map(_of_a_registry, patterns.allow)), tuple(map(_of_a_registry, patterns.deny)))
    return sorted(value for value in values if not patterns.take(_spellings(rule, value)))


def _spellings(rule: str, value: str) -> list[str]:
    """Return the spellings of *value* that the patterns of *rule* may match."""
    if rule == "images":
        return [value, image_name(value)]
    if rule == "environment":
        return [value, plain_name(value)]
    if rule != "registries":
        return [value]
    names = image_name(value).split("/")[:-1]
    return ["/".join(names[:end]) for end in range(1, len(names) + 1)]


def _of_a_registry(word: str) -> str:
    """Return the name with its registry: a name without a host belongs to a user of Docker Hub."""
    return word if word == _EVERYTHING or is_host(word.partition("/")[0]) else f"{HUB}/{word}"


def _shown(rule: str, values: Sequence[str], *, quotable: bool) -> str:
    if not quotable:
        return f"{RULES[rule]} that its job template names"
    more = f" and {len(values) - 1} more" if len(values) > 1 else ""
    return f"{RULES[rule]} {values[0][:_SHOWN]!r}{more}"


def _known(key: object) -> str:
    if isinstance(key, str) and key in RULES:
        return key
    near = did_you_mean([repr(rule) for rule in nearest(str(key), [*RULES, OWN], least=0.6)])
    hint = f"; {near}" if near else f"; there are {', '.join([OWN, *RULES])}"
    raise ConfigurationError(f"the policy has no rule {str(key)[:60]!r}{hint}")


def _patterns(preset: str, key: str, value: object) -> Patterns:
    if not isinstance(value, list) or not all(isinstance(word, str) and word not in {"", "!"} for word in value):
        raise ConfigurationError(f"the policy's rule {key!r} takes a list of texts, such as [] or ['*']")
    return Policy(preset=preset).replacing(key, value).patterns(key)


_ENVIRONMENT: Final = (
    "*", "!LD_*", "!DYLD_*", "!GCONV_PATH", "!GLIBC_TUNABLES", "!BASH_ENV", "!ENV", "!BASH_FUNC_*", "!SHELLOPTS",
    "!BASHOPTS", "!PS4", "!IFS", "!PATH", "!PYTHONHOME", "!PYTHONSTARTUP", "!PYTHONINSPECT", "!PREFECT_AGENT_*",
    "!PREFECT__CLOUD__API", "!PREFECT__CLOUD__API_KEY", "!PREFECT__CLOUD__AUTH_TOKEN",
    "!PREFECT__CLOUD__AGENT__*", "!PREFECT__BACKEND", "!PREFECT__USER_CONFIG_PATH", "!PREFECT__HOME_DIR",
)  # fmt: skip
"""Everything but what changes which programs and libraries keep the books of a unit, or where its key is sent."""

_HOST_CONFIG: Final = (
    "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "kernel_memory", "shm_size", "nano_cpus",
    "cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus", "cpuset_mems", "pids_limit",
    "blkio_weight", "extra_hosts", "dns", "dns_opt", "dns_search", "tmpfs", "init", "read_only", "cap_drop",
    "auto_remove", "AutoRemove", "restart_policy",
)  # fmt: skip

_POD_FIELDS: Final = (
    "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "containers", "dnsConfig", "dnsPolicy",
    "enableServiceLinks", "hostAliases", "hostname", "initContainers", "nodeSelector", "os", "restartPolicy",
    "securityContext", "setHostnameAsFQDN", "shareProcessNamespace", "subdomain", "terminationGracePeriodSeconds",
    "topologySpreadConstraints",
)  # fmt: skip

_VOLUMES: Final = (
    "anonymous", "tmpfs", "emptyDir", "downwardAPI", "ephemeral", "configMap/*", "persistentVolumeClaim/*",
    "serviceAccountToken", "image/**",
)  # fmt: skip

_RESTRICTED: Final[Mapping[str, tuple[str, ...]]] = {
    "images": ("*",),
    "registries": ("*",),
    "image_sources": ("*",),
    "environment": _ENVIRONMENT,
    "volumes": _VOLUMES,
    "host_config": _HOST_CONFIG,
    "networks": ("none",),
    "security_options": ("no-new-privileges", "no-new-privileges=true", "seccomp=RuntimeDefault"),
    "pod_fields": _POD_FIELDS,
}
"""What is not here allows nothing."""

PRESETS: Final[Mapping[str, Mapping[str, Patterns]]] = {
    "open": {rule: Patterns((PUBLIC,)) if rule == "template_paths" else Patterns() for rule in RULES},
    "restricted": {rule: Patterns.of(_RESTRICTED[rule]) if rule in _RESTRICTED else Patterns(()) for rule in RULES},
}
"""By name: all rules. ``open`` allows what Prefect 1.4.1 allows, templates from unlisted places aside."""

OPEN: Final = Policy()
RESTRICTED: Final = Policy(preset="restricted")
