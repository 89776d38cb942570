"""How does a machine get promtool, Prometheus' own tool that checks rules: from its path, or out of Debian's package?

`python -m tests.promtool FILE` puts it at FILE. Nothing is installed: the package is fetched into a folder of its own,
which needs no rights, and only the tool is taken out of it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

HOW = (
    "promtool checks the rules that `antiphon alerts` makes, and is not here: run make test, which takes it out of "
    "Debian's packages, or elsewhere install Prometheus (on a Mac: brew install prometheus)"
)
_BESIDE_PYTHON = Path(sys.executable).parent / "promtool"


def promtool() -> str:
    """Where it is. Raises FileNotFoundError saying how to get it."""
    found = shutil.which("promtool") or (_BESIDE_PYTHON.exists() and str(_BESIDE_PYTHON))
    if not found:
        raise FileNotFoundError(HOW)
    return found


def place(target: Path) -> bool:
    """Put it at `target`; returns whether that worked. Says what it does."""
    if found := shutil.which("promtool"):
        target.symlink_to(found)
        return True
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    print("setup: taking promtool out of Debian's package prometheus", flush=True)
    with TemporaryDirectory() as folder:
        try:
            _extract(_download(Path(folder)), target)
        except (subprocess.SubprocessError, OSError, tarfile.TarError, ValueError) as error:
            print(f"setup: that failed: {_told(error)}")
    return target.exists()


def _download(folder: Path) -> Path:
    """Debian's package, with lists of its own, since those of the system may be missing or old."""
    lists, cache = folder / "lists", folder / "cache"
    for needed in (lists / "partial", cache / "archives" / "partial"):
        needed.mkdir(parents=True)
    settings = (f"Dir::State::Lists={lists}", f"Dir::Cache={cache}", "APT::Sandbox::User=root", "Acquire::Retries=0")
    own = ["-qq", *(f"--option={setting}" for setting in settings)]
    for command in (["update"], ["download", "prometheus"]):
        subprocess.run(["apt-get", *own, *command], cwd=folder, check=True, capture_output=True, text=True, timeout=120)
    [package] = folder.glob("prometheus_*.deb")
    return package


def _extract(package: Path, target: Path) -> None:
    unpacking = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    with unpacking, tarfile.open(fileobj=unpacking.stdout, mode="r|") as files:
        for file in files:
            if file.name.endswith("/bin/promtool"):
                _copy(files, file, target)


def _copy(files: tarfile.TarFile, file: tarfile.TarInfo, target: Path) -> None:
    content = files.extractfile(file)
    assert content is not None
    half = target.with_suffix(".half")
    half.write_bytes(content.read())
    half.chmod(0o755)
    half.rename(target)


def _told(error: Exception) -> str:
    output = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return " ".join(str(output).split()[:60])


if __name__ == "__main__":
    if not place(Path(sys.argv[1])):
        print(f"setup: {HOW}")
