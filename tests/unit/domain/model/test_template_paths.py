"""Where a run config's job template may be."""

import pytest

from prefect.agent.domain.model.template_paths import PUBLIC, is_below, is_listed


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/srv/jobs/a.yaml", "/srv/jobs"),
        ("/srv/jobs/a.yaml", "/srv/jobs/"),
        ("/srv/jobs/a.yaml", "/srv/jobs/a.yaml"),
        ("file:///srv/jobs/a.yaml", "/srv/jobs"),
        ("file://localhost/srv/jobs/a.yaml", "local:///srv/jobs"),
        ("/srv//jobs/./a.yaml", "/srv/jobs"),
        ("/any/thing", "/"),
        ("https://h.example/jobs/a.yaml", "https://h.example/jobs"),
        ("HTTPS://H.example:443/jobs/a.yaml?version=2", "https://h.example/jobs/"),
        ("http://10.0.0.1:8080/a", "http://10.0.0.1:8080"),
        ("s3://bucket/jobs/a.yaml", "s3://bucket/jobs"),
    ],
)
def test_below(path: str, place: str) -> None:
    """Of one scheme and host, and no way out."""
    assert is_below(path, [place])
    assert is_listed(path, ["/elsewhere", place])


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/srv/jobs2/a.yaml", "/srv/jobs"),
        ("/srv/jobs/../../etc/shadow", "/srv/jobs"),
        ("srv/jobs/a.yaml", "/srv/jobs"),
        ("file://srv/jobs/a.yaml", "/srv/jobs"),
        ("/srv/jobs/a\0", "/srv/jobs"),
        ("/srv", "/srv/jobs"),
        ("/srv/jobs/a", "relative"),
        ("http://h.example/jobs/a.yaml", "https://h.example/jobs"),
        ("https://h.example.evil.test/jobs/a", "https://h.example/jobs"),
        ("https://h.example@evil.test/jobs/a", "https://h.example/jobs"),
        ("https://u:p@h.example/jobs/a", "https://h.example/jobs"),
        ("https://h.example:444/jobs/a", "https://h.example/jobs"),
        ("https://h.example/jobs/../secret", "https://h.example/jobs"),
        ("https://h.example/jobs/%2e%2e/secret", "https://h.example/jobs"),
        ("https://h.example/jobs/%252e%252e/secret", "https://h.example/jobs"),
        ("https://h.example\\@evil.test/jobs/a", "https://h.example/jobs"),
        ("https://[/jobs", "https://h.example/jobs"),
        ("https:///jobs", "https://h.example/jobs"),
        ("s3://bucket2/jobs/a", "s3://bucket/jobs"),
        ("s3://bucket/jobs/a::file:///etc/shadow", "s3://bucket/jobs"),
        ("gs://bucket/jobs/zip://a::https://10.0.0.1/b", "gs://bucket/jobs"),
        ("https://h.example/a", PUBLIC),
        ("", "/srv"),
    ],
)
def test_not_below(path: str, place: str) -> None:
    """Neither by a longer name, nor by dots, nor by another reading of the address."""
    assert not is_below(path, [place])


def test_public_lists_web_addresses_only() -> None:
    """Whether they are public is seen when the host is looked up."""
    assert is_listed("https://h.example/a", [PUBLIC])
    assert is_listed("http://localhost/a", [PUBLIC])
    assert not any(is_listed(path, [PUBLIC]) for path in ("/a", "a", "file:///a", "s3://b/a", "gs://b/a", "ftp://h/a"))
    assert not is_listed("https://h.example/a", [])
