"""Certificates of a cluster of its own authority, made by OpenSSL: `ca.pem`, and for each name `<name>.pem`.

`<name>.pem` is a private key and its certificate in one file, as brokers and Python's clients read it.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dev.process import ServerFault

__all__ = ["make_authority", "make_certificate"]

DAYS = "365"
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


def make_authority(folder: Path) -> None:
    """Make the authority: `ca.pem` and its key `ca.key`. Raises ServerFault without OpenSSL."""
    openssl(
        "req", "-x509", *CURVE, "-subj", "/CN=authority", "-days", DAYS,
        "-addext", "keyUsage=critical,keyCertSign", "-keyout", folder / "ca.key", "-out", folder / "ca.pem",
    )  # fmt: skip


def make_certificate(folder: Path, name: str, hosts: Sequence[str] = ("IP:127.0.0.1",)) -> None:
    """Make `<name>.pem`, for a server under these hosts (`IP:...` or `DNS:...`) and for a client of that name."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    openssl(
        "req", "-x509", *CURVE, "-subj", f"/CN={name}", "-days", DAYS,
        "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
        "-addext", f"subjectAltName={','.join(hosts)}", "-addext", "basicConstraints=critical,CA:FALSE",
        "-addext", "extendedKeyUsage=serverAuth,clientAuth", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    together = folder / f"{name}.pem"
    together.touch(mode=0o600)
    together.write_bytes(key.read_bytes() + certificate.read_bytes())
    key.unlink()
    certificate.unlink()


def openssl(*arguments: str | Path) -> None:
    """Run OpenSSL 3. Raises ServerFault with what it says."""
    program = shutil.which("openssl")
    if program is None:
        raise ServerFault("missing: OpenSSL 3, to make certificates (Debian and Ubuntu: package openssl)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerFault(f"openssl {arguments[0]} failed:\n{done.stderr}")
