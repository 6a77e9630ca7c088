"""Make a Docker image from what this machine has: no base image, no registry, no internet.

    host_image.py prefect --python .venv-prefect/bin/python    Python, Prefect and the libraries they need
    host_image.py small                                        a shell and a few programs

Prints the name of the image. Its tag is made from its content: what was made once is found again. Linux only; needs an
engine that answers, not root.
"""

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import docker
from docker.errors import DockerException

LAYOUT: Final = "1"
"""Part of every tag: raise it when this file makes other images of the same content."""

BASE: Final = "/usr/local"
VENV: Final = "/opt/prefect"
PROGRAMS: Final = ("sh", "cat", "echo", "env", "false", "id", "ls", "mkdir", "rm", "sleep", "true")
NOT_NEEDED: Final = frozenset({"test", "tests", "idlelib", "turtledemo", "tkinter", "ensurepip", "lib2to3", "pip"})
CERTIFICATES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
TEXTS: Final = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n",
    "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
ASK: Final = """
import json, os, sys, sysconfig
print(json.dumps({"version": "%d.%d" % sys.version_info[:2], "base": os.path.realpath(sys.executable),
    "stdlib": sysconfig.get_path("stdlib"), "purelib": sysconfig.get_path("purelib")}))
"""


class CannotMake(Exception):
    """There is no way to make the image here; the text says why."""


class Content:
    """What is to be in an image: path in the image -> file of this machine, link target or text."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.links: dict[str, str] = {}
        self.texts: dict[str, str] = dict(TEXTS)

    def tree(self, source: Path, target: str, skip: Callable[[Path], bool]) -> None:
        """Take a folder, as it is seen through links, without what *skip* names."""
        for folder, names, files in os.walk(source, followlinks=True):
            names[:] = [name for name in names if not skip(Path(folder, name))]
            for file in files:
                path = Path(folder, file)
                if path.suffix != ".a" and path.exists():
                    self.files[f"{target}/{path.relative_to(source).as_posix()}"] = path

    def libraries(self) -> None:
        """Add the shared libraries that the files ask for, where their loader looks for them."""
        wanted = [path for name, path in self.files.items() if "/bin/" in name or re.search(r"\.so(\.|$)", name)]
        for name in _needed(wanted):
            self.files.setdefault(name, Path(name).resolve())

    def digest(self) -> str:
        """A name for this content. Compiled Python does not count: it appears as the files are used."""
        sizes = [
            (name, str(path.stat().st_size), str(int(path.stat().st_mtime)))
            for name, path in self.files.items()
            if path.suffix != ".pyc"
        ]
        parts = [LAYOUT, *map("|".join, sorted(sizes)), *map(str, sorted([*self.links.items(), *self.texts.items()]))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    def write(self, tar: tarfile.TarFile) -> None:
        """Write everything, owned by root."""
        for name, mode in (("tmp", 0o1777), ("root", 0o700)):
            folder = _entry(name, mode)
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
        for name, text in self.texts.items():
            entry = _entry(name, 0o755 if "/bin/" in name else 0o644)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
        for name, target in self.links.items():
            link = _entry(name, 0o777)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, path in self.files.items():
            with path.open("rb") as source:
                status = os.fstat(source.fileno())
                entry = _entry(name, 0o755 if status.st_mode & 0o111 or ".so" in name else 0o644)
                entry.size, entry.mtime = status.st_size, int(status.st_mtime)
                tar.addfile(entry, source)


def prefect_content(python: Path) -> Content:
    """The environment of *python*, and the Python that it was made from, as ``/opt/prefect`` and ``/usr/local``.

    Raises:
        CannotMake: It does not run.
    """
    try:
        answer = subprocess.run([python, "-c", ASK], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as problem:
        raise CannotMake(f"{python} cannot be asked where its parts are: {problem}") from problem
    about = json.loads(answer)
    version, stdlib = about["version"], Path(about["stdlib"])
    content = _with_programs()
    content.files[f"{BASE}/bin/python{version}"] = Path(about["base"])
    content.tree(stdlib, f"{BASE}/lib/python{version}", _skipper(stdlib, {"site-packages", "dist-packages"}))
    library = f"{VENV}/lib/python{version}/site-packages"
    content.tree(Path(about["purelib"]), library, _skipper(Path(about["purelib"]), set()))
    content.links |= {f"{VENV}/bin/{name}": f"{BASE}/bin/python{version}" for name in ("python", "python3")}
    content.texts[f"{VENV}/pyvenv.cfg"] = f"home = {BASE}/bin\ninclude-system-site-packages = false\n"
    content.texts[f"{VENV}/bin/prefect"] = (
        f"#!{VENV}/bin/python\nimport sys\nfrom prefect.cli import cli\nsys.exit(cli())\n"
    )
    certificates = next((path for path in map(Path, CERTIFICATES) if path.exists()), None)
    if certificates:
        content.files[CERTIFICATES[0]] = certificates.resolve()
        content.links["/usr/lib/ssl/cert.pem"] = CERTIFICATES[0]
    content.libraries()
    return content


def small_content() -> Content:
    """A shell and a few programs."""
    content = _with_programs()
    content.libraries()
    return content


def make(kind: str, content: Content, client: "docker.DockerClient") -> str:
    """Make the image, unless the engine has it; return its name.

    Raises:
        CannotMake: The engine does not take it.
    """
    repository, tag = f"prefect-agent/host-{kind}", content.digest()
    name = f"{repository}:{tag}"
    try:
        if client.images.list(name=name):
            return name
        changes = [f"ENV PATH={VENV}/bin:/usr/local/bin:/usr/bin:/bin", "ENV LANG=C.UTF-8", 'CMD ["/bin/sh"]']
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                content.write(tar)
            file.flush()
            answer = client.api.import_image(src=file.name, repository=repository, tag=tag, changes=changes)
    except (DockerException, OSError) as problem:
        raise CannotMake(f"the image could not be made: {problem}") from problem
    if '"error"' in str(answer):
        raise CannotMake(f"the engine refused the image: {answer}")
    return name


def _with_programs() -> Content:
    """Busybox if there is a static one, else this machine's own shell and programs."""
    content = Content()
    busybox = shutil.which("busybox")
    if busybox and not list(_needed([Path(busybox)])):
        applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
        content.files["/bin/busybox"] = Path(busybox).resolve()
        content.links |= {f"/bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
        return content
    for program in PROGRAMS:
        found = shutil.which(program)
        if found:
            content.files[f"/bin/{program}"] = Path(found).resolve()
    if "/bin/sh" not in content.files:
        raise CannotMake("this machine has no sh to put into an image")
    content.links["/usr/bin/env"] = "/bin/env"
    return content


def _needed(paths: Sequence[Path]) -> Iterator[str]:
    """The libraries that *paths* load, as their loader names them."""
    if not shutil.which("ldd"):
        raise CannotMake("this machine has no ldd to tell which libraries are needed")
    seen: set[str] = set()
    for some in _batches(paths, 200):
        told = subprocess.run(["ldd", *some], capture_output=True, text=True, check=False).stdout
        for name in re.findall(r"(?:=>\s*|^\s+)(/\S+) \(0x", told, re.MULTILINE):
            # Libraries inside the environment come with it; absolute names are the system's own, or the Python's.
            if name not in seen and "/site-packages/" not in name:
                seen.add(name)
                yield name


def _batches(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def _skipper(top: Path, more: Iterable[str]) -> Callable[[Path], bool]:
    at_top = {*NOT_NEEDED, *more}

    def skip(path: Path) -> bool:
        return path.name == "tests" or (path.parent == top and (path.name in at_top or path.name.startswith("config-")))

    return skip


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.mode = mode
    return entry


def main() -> int:
    """Make the image that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=["prefect", "small"])
    parser.add_argument("--python", type=Path, default=Path(".venv-prefect/bin/python"))
    given = parser.parse_args()
    try:
        client = docker.from_env(timeout=300)
        content = small_content() if given.kind == "small" else prefect_content(given.python)
        print(make(given.kind, content, client))
        client.close()
    except (CannotMake, DockerException) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
