"""Secrets: what can be one, and how each is kept out of texts."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.secrets import MASK, Mask, passwords_of, read_secret, without_password
from prefect.agent.ports.events import Event, masked

KEY = "pak_S3cret-key/with+signs=="
characters = st.characters(min_codepoint=33, max_codepoint=126)
secrets = st.text(alphabet=characters, min_size=8, max_size=40)


@pytest.mark.parametrize("text", [KEY, f"{KEY}\n", f"{KEY}\r\n", f"  {KEY}\t\n\n", f"\ufeff{KEY}\n", f"{KEY}\0"])
def test_what_surrounds_a_secret_is_no_part_of_it(text: str) -> None:
    """Line ends of files, spaces of a copy, the mark of an editor."""
    assert read_secret(text, "X") == KEY


@pytest.mark.parametrize(
    "text", ["pak_one\npak_two", "pak_o\re", "pak_öne", "pak one", "pak_\x1b[31m", "pak_\u202eone"]
)
def test_what_no_secret_has_is_refused_in_one_sentence_that_does_not_show_it(text: str) -> None:
    """It would break a header, or be cut by it."""
    with pytest.raises(ConfigurationError) as refused:
        read_secret(text, "PREFECT__CLOUD__API_KEY")
    said = str(refused.value)
    assert said.startswith("PREFECT__CLOUD__API_KEY has characters")
    assert "\n" not in said
    assert "pak" not in said


@pytest.mark.parametrize("text", ["", "\n", " \t\r\n"])
def test_nothing_is_no_secret(text: str) -> None:
    """A Secret that was made of an empty file."""
    with pytest.raises(ConfigurationError, match="X is empty"):
        read_secret(text, "X")


@pytest.mark.parametrize(
    "shown",
    [KEY, quote(KEY), quote(KEY, safe=""), json.dumps(KEY), repr(KEY), f"https://user:{quote(KEY, safe='')}@host/"],
)
def test_every_form_of_a_secret_is_masked(shown: str) -> None:
    """As it is, in an address, in JSON."""
    cleaned = Mask([KEY])(f"before {shown} after")
    assert MASK in cleaned
    assert "S3cret" not in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")


@given(secrets, st.binary(max_size=5), st.binary(max_size=5))
def test_the_base64_of_any_text_around_a_secret_is_masked(secret: str, before: bytes, after: bytes) -> None:
    """As in the header of ``user:password``, and in a Secret of Kubernetes."""
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    assert MASK in Mask([secret])(encoded)
    assert MASK in Mask([secret])(base64.urlsafe_b64encode(before + secret.encode() + after).decode())


@given(st.lists(secrets, max_size=4), st.text(max_size=40), st.text(max_size=40))
def test_no_text_has_a_secret_afterwards(known: list[str], before: str, after: str) -> None:
    """Also of secrets that overlap."""
    mask = Mask(known)
    for secret in known:
        assert secret not in mask(f"{before}{secret}{after}") or secret in MASK


def test_values_are_masked_however_deep() -> None:
    """Fields of events, names included; other values stay."""
    mask = Mask([KEY])
    found = mask.value({"a": [f"x {KEY}", 1, None], KEY: {"b": (KEY,)}, "c": True})
    assert found == {"a": [f"x {MASK}", 1, None], MASK: {"b": (MASK,)}, "c": True}


def test_a_secret_that_is_learned_late_is_masked_from_then_on() -> None:
    """Of another mask, or by itself."""
    mask, other = Mask(), Mask([KEY])
    assert mask(KEY) == KEY
    mask.learn(other)
    mask.add("another-secret", "")
    assert mask(f"{KEY} another-secret") == f"{MASK} {MASK}"


@pytest.mark.parametrize(
    ("url", "password", "shown"),
    [
        ("http://u:p%40ss@host:1/x", {"p%40ss", "p@ss"}, "http://host:1/x"),
        ("http://host", set(), "http://host"),
        ("ftp://u:pw@[bad", {"pw"}, "ftp://[bad"),
        ("u:pw@host", set(), "host"),
    ],
)
def test_addresses_are_shown_without_passwords(url: str, password: set[str], shown: str) -> None:
    """Also those that are none."""
    assert passwords_of(url) == password
    assert without_password(url) == shown


def test_an_event_without_a_secret_is_the_same_object() -> None:
    """Almost all are; one with a secret anywhere is another, without it."""
    clean = Event(name="x", message="m", fields={"a": 1, "b": ["c"]})
    mask = Mask([KEY])
    assert masked(clean, mask) is clean
    for fields, shown in (({"a": KEY}, {"a": MASK}), ({"a": {"b": [KEY]}}, {"a": {"b": [MASK]}})):
        assert dict(masked(Event(name="x", message="m", fields=fields), mask).fields) == shown
    assert masked(Event(name="x", message=f"the {KEY}"), mask).message == f"the {MASK}"


@pytest.mark.parametrize(
    "shown",
    [
        "a%2fb%26c%3c%22D7",
        "a/b&amp;c&lt;&quot;D7",
        'a/b&amp;c&lt;"D7',
        'a/b\\u0026c\\u003c"D7',
        'a\\/b&c<"D7',
    ],
)
def test_the_spellings_of_other_programs_are_masked(shown: str) -> None:
    """Percent signs with small letters, HTML, and JSON as Go and PHP write it: a password may have any letter."""
    assert Mask(['a/b&c<"D7'])(f"it is {shown}.") == f"it is {MASK}."
