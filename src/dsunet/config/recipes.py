"""Recipes that come with the package: files of settings, by name."""

from __future__ import annotations

from pathlib import Path

from dsunet.errors import ConfigError, did_you_mean

__all__ = ["RECIPES", "find_recipe"]

_INSTALLED = Path(__file__).parents[1] / "configs"

RECIPES = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[3] / "configs"
"""Their folder: in an installed package inside it, in the repository beside `src/`."""


def find_recipe(given: str | Path) -> Path:
    """The file of settings that is meant: one that is there, or a recipe that comes with dsunet.

    Args:
        given: A path; or the name of a recipe, such as `duts-lite`, with or without its ending and
            `configs/` before it.

    Raises:
        ConfigError: There is neither.
    """
    path = Path(given)
    if path.is_file():
        return path
    recipes = {file.stem: file for file in sorted(RECIPES.glob("*.yaml"))}
    plain = path.parent in (Path(), Path("configs")) and path.suffix in ("", ".yaml", ".yml")
    if plain and path.stem in recipes:
        return recipes[path.stem]
    hint = did_you_mean(path.stem, recipes) if plain else ""
    known = f"with dsunet come {', '.join(recipes)}" if recipes else "give the path of one"
    raise ConfigError(f"there is no file of settings {path}; {hint or known}")
