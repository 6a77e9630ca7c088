"""An embedded Cloud over HTTP, asked as :class:`support.embedded.Embedded` asks one in this process."""

from collections.abc import Mapping

import requests

from support.embedded import Embedded, Json


class RemoteCloud(Embedded):
    """A Cloud at an address.

    Args:
        key: API key, if one is needed.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url
        self._http = requests.Session()
        self._http.trust_env = False
        if key:
            self._http.headers["Authorization"] = f"Bearer {key}"

    def __repr__(self) -> str:
        """Where it is."""
        return f"RemoteCloud({self.url!r})"

    def send(self, query: str, variables: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Json]:
        """HTTP status and body of any request."""
        body = {"query": query, "variables": variables}
        answer = self._http.post(self.url, json=body, headers=dict(headers or {}), timeout=60)
        return answer.status_code, answer.json()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()
