"""Attack: a Job template, or a kubeconfig, that is small to send and costs seconds of CPU or gigabytes to parse.

Rule: YAML is measured against a budget of bytes, values, depth and text before anything is built from it
(``adapters/plain_yaml.py``), and what kubectl calls a text is one.
"""

import time
from pathlib import Path
from typing import Final

import pytest
import yaml

from prefect.agent.adapters import plain_yaml
from prefect.agent.adapters.kubernetes import templates
from prefect.agent.adapters.kubernetes.credentials import ClusterLogin
from prefect.agent.adapters.kubernetes.fields import BadTemplate
from prefect.agent.domain.errors import ConfigurationError

MOST: Final = 1024 * 1024
SECONDS: Final = 2.0 if yaml.__with_libyaml__ else 15.0
"""Of CPU; a base-60 number of one MiB took a minute."""


def billion_laughs() -> bytes:
    """Nine levels of nine aliases each."""
    lines = [b"a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [b"%c: &%c [%s]" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(8)]
    return b"\n".join(lines)


def merges() -> bytes:
    """Each mapping merges the one before twice."""
    lines = [b"m0: &m0 {k: v}"]
    lines += [b"m%d: &m%d {<<: [*m%d, *m%d]}" % (n, n, n - 1, n - 1) for n in range(1, 40)]
    return b"\n".join(lines)


BOMBS: Final = {
    "billion laughs": billion_laughs(),
    "merge keys": merges(),
    "base-60 number": b"a: 1" + b":1" * (MOST // 2 - 10),
    "base-60 fraction": b"a: 1" + b":1" * (MOST // 2 - 10) + b".5",
    "base-60 number by its tag": b"a: !!int 1" + b":1" * (MOST // 2 - 20),
    "base-60 fraction by its tag": b"a: !!float 1" + b":1" * (MOST // 2 - 20),
    "digits": b"a: " + b"1" * (MOST - 10),
    "fraction": b"a: 1." + b"1" * (MOST - 10),
    "flow nesting": b"[" * (MOST // 2) + b"]" * (MOST // 2),
    "block nesting": b"- " * (MOST // 2 - 10),
    "keys": b"? " * (MOST // 2 - 10),
    "many values": b"[" + b"a," * (MOST // 2 - 10) + b"]",
    "many mappings": b"[" + b"{}," * (MOST // 3 - 10) + b"]",
    "huge text": b"a: " + b"x " * (MOST // 2 - 10),
    "escapes": b'a: "' + b"\\x41" * (MOST // 4 - 10) + b'"',
    "open quote": b'"' + b"\n" * (MOST - 10),
    "words in a flow mapping": b"{" + b"a " * (MOST // 2 - 10) + b"}",
    "folded lines": b"a: >\n" + b" x\n" * (MOST // 3 - 10),
    "documents": b"--- a\n" * (MOST // 8),
    "set": b"a: !!set {" + b"a," * (MOST // 2 - 30) + b"}",
    "more bytes than there may be": b"a: " + b"x" * MOST,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_template_costs_little_whatever_it_holds(bomb: str) -> None:
    """Refused with a sentence or taken: within two seconds of CPU, and nothing of it is in the sentence."""
    said = ""
    began = time.process_time()
    try:
        templates.parsed(BOMBS[bomb])
    except BadTemplate as refused:
        said = str(refused)
    assert len(said) < 200
    assert time.process_time() - began < SECONDS


def test_a_base_60_number_and_a_date_are_texts() -> None:
    """As for kubectl."""
    found = templates.parsed(b"metadata: {annotations: {a: 190:20:30, b: 2001-01-01, c: 1:30.5, d: =}}")
    assert found["metadata"]["annotations"] == {"a": "190:20:30", "b": "2001-01-01", "c": "1:30.5", "d": "="}


def test_aliases_within_the_budget_work() -> None:
    """People use them."""
    found = templates.parsed(b"metadata: &m {labels: {a: b}}\nspec: {template: {metadata: {<<: *m}}}")
    assert found["spec"]["template"]["metadata"] == {"labels": {"a": "b"}}


def test_the_budget_counts_what_aliases_stand_for() -> None:
    """An alias of four values, three times, is twelve."""
    budget = plain_yaml.Budget(bytes=1000, values=15, depth=5, text=1000)
    text = b"[&a [1, 2, 3], *a, *a]"
    assert plain_yaml.load(text, budget) == [[1, 2, 3]] * 3
    with pytest.raises(plain_yaml.NotPlainYaml, match="too large"):
        plain_yaml.load(b"[&a [1, 2, 3], *a, *a, *a]", budget)


@pytest.mark.parametrize("bomb", ["billion laughs", "merge keys", "base-60 number", "flow nesting", "many values"])
def test_a_kubeconfig_costs_little_whatever_it_holds(bomb: str, tmp_path: Path) -> None:
    """It is the operator's own, but it may have come by mail."""
    path = tmp_path / "config"
    path.write_bytes(BOMBS[bomb] * (1 if bomb in {"billion laughs", "merge keys"} else 12))
    began = time.process_time()
    with pytest.raises(ConfigurationError, match="kubeconfig"):
        ClusterLogin.find(str(path), None)
    assert time.process_time() - began < 2 * SECONDS
