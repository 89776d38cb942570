"""Which services does a MODULE mean: a package, a module, `module:service` or a path?"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from antiphon.cli.names import check_names
from antiphon.errors import AntiphonError, UsageError
from antiphon.runtime.service import Service
from antiphon.runtime.settings import FILE_NAME, Settings


def load_services(modules: Sequence[str] | None, settings: Settings, *, needed: bool = True) -> list[Service]:
    """The services of these modules, or of those in `antiphon.toml`; each once.

    Raises UsageError when a module is not there, fails while it is imported (with file and line), or has no service
    where one is `needed`, SettingsError when the file has a table about something that its modules do not have.
    """
    names = list(modules or settings.modules)
    if not names:
        raise UsageError(
            f"no module was given and {settings.file or FILE_NAME} names none: "
            "name one, as in antiphon run payments or antiphon publish --module payments ..., "
            f'or write modules = ["payments"] into {FILE_NAME}'
        )
    search_here(settings)
    found = [service for name in names for service in _services_of(name, needed=needed)]
    services = list({id(service): service for service in found}.values())
    if not modules:
        check_names(services, settings)
    return services


def search_here(settings: Settings) -> None:
    """Let modules be found where the command is given, and beside `antiphon.toml`."""
    _search_in(Path.cwd(), settings.folder)


def _search_in(*folders: Path) -> None:
    for folder in reversed(folders):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def _services_of(target: str, *, needed: bool) -> list[Service]:
    path, _, attribute = target.partition(":")
    name = _module_of_path(Path(path)) if path.endswith(".py") or "/" in path else path
    module = import_module(name)
    if not _services_in(module) and _has_submodule(module, "service"):
        module = import_module(f"{name}.service")
    if attribute:
        return [_named(module, attribute)]
    found = _services_in(module)
    if not found and needed:
        made = "a service is made as in payments = Service('payments')"
        raise UsageError(f"{name} has no Service: {_what_it_has(module)}; {made}")
    return found


def _module_of_path(path: Path) -> str:
    """The dotted name of a file or folder, whose outermost folder without `__init__.py` is then searched."""
    place = path.resolve()
    if not place.exists():
        raise UsageError(f"there is no file {path}")
    parts = [place.stem if place.suffix == ".py" else place.name]
    folder = place.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    _search_in(folder)
    return ".".join(part for part in parts if part != "__init__")


def import_module(name: str) -> ModuleType:
    """Import user code. Raises UsageError that says in one line what failed and where, or what else there is."""
    try:
        return importlib.import_module(name)
    except AntiphonError as error:
        raise UsageError(_with_place(error)) from error
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {error.name!r}{_nearest(error.name)}") from error
        raise UsageError(_import_failure(name, error)) from error
    except (Exception, SystemExit) as error:
        raise UsageError(_import_failure(name, error)) from error


def _import_failure(name: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{name} cannot be imported: {error.filename}:{error.lineno}: {error.msg}"
    return f"{name} cannot be imported: {_place(error)}: {type(error).__name__}: {error}"


def _with_place(error: AntiphonError) -> str:
    place, text = _place(error), str(error)
    return text if place.rpartition(":")[0] in text else f"{place}: {text}"


def _place(error: BaseException) -> str:
    """The last line of user code that led to it: neither ours nor the import system's."""
    ours = str(Path(__file__).parent.parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(ours) and "<frozen" not in frame.filename and "importlib" not in frame.filename
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown place"


def _nearest(name: str) -> str:
    there = sorted(_modules_here())
    close = get_close_matches(name, there, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; {Path.cwd()} has {', '.join(there[:8])}" if there else f"; {Path.cwd()} has no modules"


def _modules_here() -> Iterable[str]:
    for path in Path.cwd().iterdir():
        if path.suffix == ".py":
            yield path.stem
        elif (path / "__init__.py").is_file() or (path / "service.py").is_file():
            yield path.name


def _has_submodule(module: ModuleType, name: str) -> bool:
    return hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.{name}") is not None


def _services_in(module: ModuleType) -> list[Service]:
    return [value for value in vars(module).values() if issubclass(type(value), Service)]


def _named(module: ModuleType, attribute: str) -> Service:
    if not hasattr(module, attribute):
        raise UsageError(f"{module.__name__} has no {attribute!r}: {_what_it_has(module)}")
    found = getattr(module, attribute)
    if not isinstance(found, Service):
        raise UsageError(f"{module.__name__}:{attribute} is no Service but of type {type(found).__name__}")
    return found


def _what_it_has(module: ModuleType) -> str:
    services = [name for name, value in vars(module).items() if issubclass(type(value), Service)]
    if services:
        return f"it has the services {', '.join(services)}"
    names = [name for name in vars(module) if not name.startswith("_")]
    return f"it has {', '.join(names[:8])}" if names else "it is empty"
