"""Names of a package that are imported when they are first used, and modules under old names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from dsunet.support.packages import needing

__all__ = ["lazy_names", "redirect_modules"]


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__all__`, `__getattr__` and `__dir__`.

    For type checkers the package imports the same names, each as itself.

    Args:
        package: Its name.
        modules: Its submodules, each with the public names that come from it.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with needing(f"{package}.{name}"):
            value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted(homes)

    return sorted(homes), get, names


def redirect_modules(package: str, moved: Mapping[str, str]) -> None:
    """Lets modules be imported by the names that they had before.

    Args:
        package: Their package.
        moved: Old names, without the package's, each with today's.
    """
    sys.meta_path.append(
        _Redirection({f"{package}.{old}": f"{package}.{new}" for old, new in moved.items()})
    )


class _Redirection(MetaPathFinder, Loader):
    """Finds what no other finder does: modules under the names that they had before."""

    def __init__(self, moved: Mapping[str, str]) -> None:
        self.moved = moved

    def find_spec(self, name: str, *rest: object) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self.moved else None

    def exec_module(self, module: ModuleType) -> None:
        # Python goes on with what stands here afterwards
        sys.modules[module.__name__] = import_module(self.moved[module.__name__])
