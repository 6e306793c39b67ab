"""Functions and classes that a user names by import path, `PACKAGE.MODULE:NAME`.

Only what somebody types on the command line or passes in Python comes here; a name that stands in a
file is never imported.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dsunet.errors import CustomModelError, did_you_mean

__all__ = ["explain", "import_path", "is_import_path", "resolve", "sum_of_code"]

FORM = "PACKAGE.MODULE:NAME, such as mynet:tiny for tiny in mynet.py"


def is_import_path(text: str) -> bool:
    """Whether a text is meant as an import path, rather than as the name of a preset."""
    return ":" in text or text.endswith(".py")


def resolve(spec: str) -> Callable[..., object]:
    """The function, class or other callable that an import path names.

    The module is looked for in the working directory first, then where Python looks. Importing it
    runs its code, so give no name that comes from a file of somebody else's.

    Args:
        spec: `PACKAGE.MODULE:NAME`; the name may have dots.

    Raises:
        CustomModelError: There is no such module or name in it, the module cannot be imported, or
            what is there cannot be called.
    """
    module_name, colon, name = spec.partition(":")
    if not colon or not all(part.isidentifier() for part in f"{module_name}.{name}".split(".")):
        raise CustomModelError(f"{spec!r} is no import path; it needs the form {FORM}")
    with _working_directory_first():
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise CustomModelError(f"{module_name} {explain(error)}") from error
            raise CustomModelError(
                f"{spec}: there is no module {error.name!r} in {Path.cwd()} (the working "
                f"directory), nor among the packages of {sys.executable}; change to its folder, or "
                "install it"
            ) from error
        except (Exception, SystemExit) as error:
            raise CustomModelError(f"{module_name} {explain(error)}") from error
    try:
        found = functools.reduce(getattr, name.split("."), module)
    except AttributeError as error:
        callables = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        hint = did_you_mean(name, callables) or f"it has {', '.join(callables) or 'none'}"
        raise CustomModelError(
            f"{spec}: there is no {name!r} in {getattr(module, '__file__', module_name)}; {hint}"
        ) from error
    if not callable(found):
        raise CustomModelError(
            f"{spec} is of type {type(found).__name__} and cannot be called; name a function or a "
            "class"
        )
    return found


def import_path(target: object) -> str:
    """The import path of a function or class, or of an object's class, for messages and files."""
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}:{named.__qualname__}"


def explain(error: BaseException) -> str:
    """What went wrong in code of the user's, and where in it as far as that shows, in one line."""
    called = traceback.extract_tb(error.__traceback__)[1:]  # the first is who called it
    frames = [f for f in called if not re.search("<frozen |site-packages", f.filename)] or called
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    if isinstance(error, SyntaxError):  # the line that cannot be read, not the one that imports it
        place = f" ({error.filename}, line {error.lineno})"
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    return f"failed: {type(error).__name__}: {text[:300]}{place}"


@contextmanager
def _working_directory_first() -> Iterator[None]:
    """For the import alone; later imports, of the model's or of ours, look there last."""
    here = os.getcwd()  # noqa: PTH109 -- sys.path takes text
    known = here in sys.path or "" in sys.path
    importlib.invalidate_caches()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with suppress(ValueError):  # the module may have changed the path as well
            sys.path.remove(here)
        if not known:
            sys.path.append(here)


def sum_of_code(name: str, target: object) -> str | None:
    """A SHA-256 over the files of what a user names; `None` if it is in no file.

    These are the file of the module in its import path and, where they differ, of those that define
    the function or the class, behind decorators and partial calls, too.
    """
    modules = [name.split(":")[0]]
    while isinstance(target, functools.partial) or hasattr(target, "__wrapped__"):
        modules += _modules_of(target)
        target = target.func if isinstance(target, functools.partial) else target.__wrapped__
    modules += _modules_of(target)
    files = dict.fromkeys(getattr(sys.modules.get(m), "__file__", None) for m in modules)
    code = [Path(file).read_bytes() for file in files if file and Path(file).is_file()]
    return _sum_of(code) if code else None


def _modules_of(target: object) -> list[str]:
    """Names of the modules that define a function or an object, and its class."""
    found = (getattr(target, "__module__", None), type(target).__module__)
    return [module for module in found if isinstance(module, str)]


def _sum_of(parts: Sequence[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()
