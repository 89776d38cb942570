"""How the pages' snippets are found and run: python in order in one namespace, commands with their printed output.

A python, sql or toml block whose first line names a file (`# payments.py`, `-- migrations/0001_make_ledger.sql`) is
written to it; any other python block is run. In a `console` block a line after `$ ` is a command and what follows is
its output, in which `...` stands for anything; a command that ends in `&` runs until the page ends, and `# exit 2`
after a command is the code it must end with. What running services leave behind is looked for until it is there. `make`
and `git` commands are about the repository itself: for `make` it is checked that the target exists, `git` is left out.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Self

ROOT = Path(__file__).parent.parent.parent
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"(?:#|--) ([\w./-]+\.\w+)\n")
_LOOK = re.compile(r"antiphon (topics|groups|dead-letters list)(?! seek)")
"""Commands that say how far running services are: asked again until they say what the page says, or patience ends."""
_PATIENCE, _STARTED, _SILENT = 60, 5.0, 0.7
"""Seconds: for a command to end, for one in the background to say its first word, and until it has said all."""


class Snippet(NamedTuple):
    """One fenced block: its language, its text, and the line it begins on."""

    language: str
    text: str
    line: int


class SnippetError(AssertionError):
    """A snippet does not do what its page says."""


def snippets(text: str) -> Iterator[Snippet]:
    """Every fenced block of a page or docstring."""
    for found in _FENCE.finditer(text):
        yield Snippet(found[2], textwrap.dedent(found[3]), text.count("\n", 0, found.start()) + 2)


def docstrings(path: Path) -> Iterator[str]:
    """Every docstring of a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


class Background:
    """A command that runs until its page ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._last_line = time.monotonic()
        self._has_spoken = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for _ in self.process.stdout:
            self._last_line = time.monotonic()
            self._has_spoken.set()

    def wait_until_settled(self) -> None:
        """Return when it has said what it says at its start, as a reader of the page would wait for."""
        self._has_spoken.wait(_STARTED)
        while self.process.poll() is None and time.monotonic() - self._last_line < _SILENT:
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(_PATIENCE)
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Page:
    """One page being run in a folder of its own; leave the `with` to stop what it started."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self.started: list[Background] = []

    def __enter__(self) -> Self:
        self._before = (Path.cwd(), list(sys.path), set(sys.modules))
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        for background in self.started:
            background.stop()
        where, sys.path[:], modules = self._before
        os.chdir(where)
        for name in set(sys.modules) - modules:
            if _lies_in(sys.modules[name], self.folder):
                del sys.modules[name]

    def run(self, text: str) -> int:
        """Run every snippet of `text`; returns how many there were."""
        count = 0
        for snippet in snippets(text):
            named = _FILE_NAME.match(snippet.text)
            if named and snippet.language in ("python", "sql", "toml"):
                self._write(named[1], snippet.text)
            elif runner := {"python": self._python, "console": self._console, "sh": self._shell}.get(snippet.language):
                runner(snippet)
            else:
                continue
            count += 1
        return count

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def _python(self, snippet: Snippet) -> None:
        source = "\n" * (snippet.line - 1) + snippet.text
        code = compile(source, self.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, self.namespace))
        else:
            exec(code, self.namespace)

    def _shell(self, snippet: Snippet) -> None:
        for command in filter(None, snippet.text.splitlines()):
            self._command(command, [], snippet.line)

    def _console(self, snippet: Snippet) -> None:
        for part in re.split(r"^\$ ", snippet.text, flags=re.MULTILINE)[1:]:
            command, *expected = part.splitlines()
            self._command(command, expected, snippet.line)

    def _command(self, command: str, expected: list[str], line: int) -> None:
        if command.startswith("git "):
            return
        if command.startswith("make "):
            subprocess.run(["make", "-n", "-C", str(ROOT), command.split()[1]], check=True, capture_output=True)
            return
        command, _, code = command.partition("# exit ")
        if command.rstrip().endswith("&"):
            background = Background(self._start("exec " + command.rstrip().removesuffix("&")))
            self.started.append(background)
            background.wait_until_settled()
            return
        output, returned = self._ask(command, int(code or 0), expected)
        if returned != int(code or 0):
            raise SnippetError(f"{self.name}:{line}: `{command}` ended with {returned}:\n{output}")
        if not looks_like(output, expected):
            raise SnippetError(f"{self.name}:{line}: `{command}` printed:\n{output}\nbut the page says:\n{expected}")

    def _ask(self, command: str, code: int, expected: list[str]) -> tuple[str, int]:
        """Output and exit code of a command; one that only looks is repeated until both are right or patience ends."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            process = self._start(command)
            output, _ = process.communicate(timeout=_PATIENCE)
            is_right = process.returncode == code and looks_like(output, expected)
            if is_right or not _LOOK.match(command) or time.monotonic() > deadline:
                return output, process.returncode

    def _start(self, command: str) -> subprocess.Popen[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, shell=True, text=True, stdout=pipe, stderr=subprocess.STDOUT, env=environment)


def _lies_in(module: ModuleType, folder: Path) -> bool:
    places = [module.__file__ or "", *getattr(module, "__path__", ())] if hasattr(module, "__file__") else []
    return any(place.startswith(str(folder)) for place in places)


def looks_like(output: str, expected: list[str]) -> bool:
    """Whether the expected lines appear in `output` in this order; spaces do not count, `...` is anything."""
    pattern = r"[\s\S]*?".join(_loosely(line) for line in expected if line.strip())
    return re.search(pattern, output) is not None


def _loosely(line: str) -> str:
    parts = (r"\s+".join(map(re.escape, part.split())) for part in line.split("..."))
    return r".*?".join(parts) if "..." in line else r"\s+".join(map(re.escape, line.split()))
