"""An operator of NATS with one account, who signs who its user is; by hand, since no package of Python does that."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from pathlib import Path

import nkeys

_BOUNDLESS = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf", "streams", "consumer"), -1)
_OPERATOR, _OF_ACCOUNT = nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT
_SYSTEM: dict[str, object] = {"limits": {**_BOUNDLESS, "streams": 0, "consumer": 0}, "type": "account"}
_ACCOUNT: dict[str, object] = {"limits": {**_BOUNDLESS, "mem_storage": -1, "disk_storage": -1}, "type": "account"}


class Operator:
    """Has a server know its account, by `settings`, and gives its one user files of credentials."""

    def __init__(self) -> None:
        self._own, self._account, system = _pair(_OPERATOR), _pair(_OF_ACCOUNT), _pair(_OF_ACCOUNT)
        self._user = _pair(nkeys.PREFIX_BYTE_USER)
        known = {
            each: self._signed(each, self._own, says) for each, says in ((self._account, _ACCOUNT), (system, _SYSTEM))
        }
        self.settings = (
            f"operator: {self._signed(self._own, self._own, {'type': 'operator'})}",
            f"system_account: {_name(system)}",
            "resolver: MEMORY",
            "resolver_preload: {",
            *(f"  {_name(each)}: {signed}" for each, signed in known.items()),
            "}",
        )

    def credentials(self, file: Path, seconds: int) -> Path:
        """Write to the file who the user is, for so long from now on."""
        limits: dict[str, object] = {"subs": -1, "data": -1, "payload": -1, "type": "user"}
        token = self._signed(self._user, self._account, limits, exp=int(time.time()) + seconds)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{bytes(self._user.seed).decode()}\n------END USER NKEY SEED------\n",
            "utf-8",
        )
        return file

    def _signed(self, of: nkeys.KeyPair, by: nkeys.KeyPair, says: dict[str, object], **more: object) -> str:
        claims = {"iat": int(time.time()), "iss": _name(by), "sub": _name(of), "nats": {**says, "version": 2}, **more}
        claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
        text = f"{_packed({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_packed(claims)}"
        return f"{text}.{_written(by.sign(text.encode()))}"


def _pair(kind: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), kind))


def _name(pair: nkeys.KeyPair) -> str:
    return bytes(pair.public_key).decode()


def _packed(claims: dict[str, object]) -> str:
    return _written(json.dumps(claims).encode())


def _written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def seed_and_name(file: Path) -> str:
    """Write the seed of a new user to the file, and return by which name a server knows that user."""
    pair = _pair(nkeys.PREFIX_BYTE_USER)
    file.write_text(bytes(pair.seed).decode(), "utf-8")
    return _name(pair)
