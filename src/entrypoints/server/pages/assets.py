"""Style sheet and scripts, as they are in the package: read once, served under an address that names their content."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOREVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}


@cache
def _files() -> dict[str, bytes]:
    """Name to content of every static file."""
    return {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}


@cache
def edition() -> str:
    """A digest of all static files: a part of their address, so that browsers may keep them for ever."""
    whole = hashlib.sha256()
    for name, content in _files().items():
        whole.update(f"{name}\n{len(content)}\n".encode() + content)
    return whole.hexdigest()[:16]


def asset_path(name: str) -> str:
    """The address of the static file *name*.

    Raises:
        KeyError: There is none.
    """
    _files()[name]
    return f"/-/static/{edition()}/{name}"


async def serve_asset(request: Request) -> Response:
    """Answer with a static file. An address of another edition is not found: its page is to be loaded anew."""
    name = request.path_params["name"]
    if request.path_params["edition"] != edition() or name not in _files():
        return Response("There is no such file", 404, media_type="text/plain")
    return Response(_files()[name], media_type=_TYPES[Path(name).suffix], headers=_FOREVER)
