"""Where the peers live: each in a virtual environment of its own, made when first needed, because their pins clash."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
PINS = {
    "faststream": (
        "faststream[kafka,confluent,rabbit,nats,redis]==0.7.8",
        "aiokafka==0.14.0",
        "cramjam==2.14.0",
        "confluent-kafka==2.16.1",
        "aio-pika==10.2.1",
        "nats-py==2.16.0",
        "redis==8.1.0",
        "fast-depends==3.0.9",
        "pydantic==2.14.3",
        "anyio==4.16.0",
    ),
    "faststream-outbox": (
        "faststream-outbox[asyncpg]==0.19.0",
        "faststream==0.7.8",
        "fast-depends==3.0.9",
        "pydantic==2.14.3",
        "anyio==4.16.0",
        "sqlalchemy==2.1.9",
        "asyncpg==0.32.0",
    ),
    "python-cqrs": (
        "python-cqrs[pydantic,sqlalchemy]==5.3.0",
        "dataclass-wizard==0.39.1",
        "orjson==3.13.0",
        "pydantic==2.14.3",
        "sqlalchemy==2.0.58",
        "asyncpg==0.32.0",
    ),
}


def peer(name: str) -> Path:
    """The interpreter of the peer's environment, with the pinned versions in it."""
    folder = HERE / ".peers" / name
    interpreter, stamp = folder / "bin" / "python", folder / ".pins"
    wanted = "\n".join(PINS[name])
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        print(f"benchmarks: making {folder.relative_to(HERE.parent)} with {PINS[name][0]}", file=sys.stderr)
        venv.create(folder, clear=True, symlinks=True, with_pip=True)
        subprocess.run(
            [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINS[name]], check=True
        )
        stamp.write_text(wanted, "utf-8")
    return interpreter


def program(name: str) -> Path:
    """The file of a peer's side; it runs in the peer's environment, not in ours."""
    return HERE / "peers" / f"{name}.py"
