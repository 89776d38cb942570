"""Who signs certificates for tests."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

_HOUR = timedelta(hours=1)
_RULES = """[ca]
default_ca = authority
[authority]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = policy
unique_subject = no
[policy]
commonName = supplied
[names]
subjectAltName = IP:127.0.0.1
"""
HAS_OPENSSL = shutil.which("openssl") is not None


class Certificate(NamedTuple):
    """Its file, that of its key, and one with both."""

    itself: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates of 127.0.0.1 in a folder; `file` is what those trust who trust it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.file = folder, folder / "authority.pem"
        (folder / "index.txt").touch()
        (folder / "serial").write_text("01", "utf-8")
        (folder / "rules").write_text(_RULES, "utf-8")
        self._run("req", "-x509", *_new_key("authority.key"), "-days", "2", "-out", str(self.file))

    def sign(self, name: str, *, ended: bool = False) -> Certificate:
        """A certificate of that name, which ends in an hour or ended an hour ago."""
        itself, key, both = (self._folder / f"{name}.{part}" for part in ("crt", "key", "both"))
        self._run("req", *_new_key(str(key)), "-out", f"{name}.csr")
        now = datetime.now(UTC)
        self._run(
            "ca", "-batch", "-notext", "-config", "rules", "-cert", str(self.file), "-keyfile", "authority.key",
            "-extensions", "names", "-startdate", _moment(now - 2 * _HOUR),
            "-enddate", _moment(now - _HOUR if ended else now + _HOUR), "-in", f"{name}.csr", "-out", str(itself),
        )  # fmt: skip
        both.write_text(key.read_text("utf-8") + itself.read_text("utf-8"), "utf-8")
        return Certificate(itself, key, both)

    def _run(self, *command: str) -> None:
        subprocess.run(["openssl", *command], check=True, capture_output=True, cwd=self._folder)


def _new_key(file: str) -> tuple[str, ...]:
    return "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", file


def _moment(when: datetime) -> str:
    return when.strftime("%Y%m%d%H%M%SZ")
