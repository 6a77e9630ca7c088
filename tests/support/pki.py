"""Certificates for one control plane, by the openssl program."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

LOOPBACK: Final = "DNS:localhost,IP:127.0.0.1"
NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@attrs.frozen
class Certificate:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


@attrs.frozen
class Pki:
    """An authority of its own, and what it signs.

    Attributes:
        bare: Whether certificates lack what RFC 5280 wants beside names and keys, as those of many clusters do.
    """

    folder: Path
    bare: bool = False

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(mode=0o700)
        usage = () if self.bare else ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        subject = ("-subj", "/CN=test-ca", *usage)
        self._openssl("req", "-x509", *NEW_KEY, "-days", "30", *subject, *self._out(self.authority))
        self._openssl("genrsa", "-out", self.account_key.key, "2048")
        self._openssl("rsa", "-in", self.account_key.key, "-pubout", "-out", self.account_key.certificate)

    @property
    def authority(self) -> Certificate:
        """Who signs."""
        return self._files("ca")

    @property
    def account_key(self) -> Certificate:
        """What tokens of service accounts are signed with: the public half stands for the certificate."""
        return self._files("service-accounts")

    def server(self, name: str, *, names: str = LOOPBACK, days: int = 30) -> Certificate:
        """A certificate for a server on loopback, valid for so many days."""
        return self._sign(name, f"/CN={name}", "serverAuth", names, days)

    def client(self, name: str, subject: str) -> Certificate:
        """A certificate for a client: its subject is user (CN) and groups (O)."""
        return self._sign(name, subject, "clientAuth", "")

    def _sign(self, name: str, subject: str, usage: str, names: str, days: int = 30) -> Certificate:
        made, request, extensions = self._files(name), self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        lines = ["keyUsage=critical,digitalSignature", f"extendedKeyUsage={usage}"]
        if not self.bare:
            lines += ["subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid"]
        extensions.write_text("\n".join([*lines, f"subjectAltName={names}" if names else ""]))
        self._openssl("req", *NEW_KEY, "-subj", subject, "-keyout", made.key, "-out", request)
        signer = (
            "-CA",
            self.authority.certificate,
            "-CAkey",
            self.authority.key,
            "-CAcreateserial",
            "-days",
            str(days),
        )
        self._openssl("x509", "-req", "-in", request, *signer, "-extfile", extensions, "-out", made.certificate)
        return made

    def _files(self, name: str) -> Certificate:
        return Certificate(self.folder / f"{name}.crt", self.folder / f"{name}.key")

    @staticmethod
    def _out(files: Certificate) -> Sequence[str | Path]:
        return ("-keyout", files.key, "-out", files.certificate)

    @staticmethod
    def _openssl(*words: str | Path) -> None:
        done = subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"openssl {words[0]} failed: {done.stderr.strip()}")
