"""What is meant by something callable: one rule for functions, classes and networks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from dsunet.config import CustomConfig
from dsunet.errors import CustomModelError, DsunetError
from dsunet.network.custom import CustomModel, Size
from dsunet.network.function import ImageFunction
from dsunet.support.imports import explain, import_path, resolve, sum_of_code

__all__ = ["CustomSource"]

_T = TypeVar("_T")


def _given(value: Size | None, otherwise: _T) -> Size | _T:
    return otherwise if value is None else value


@dataclass(frozen=True)
class CustomSource:
    """Something callable that is or makes a model.

    A `torch.nn.Module` is a network. A function or class that can be called without arguments makes
    the model. A function of one argument is the model: it takes an image and gives its map.
    """

    name: str
    """Its import path."""
    target: Callable[..., object]
    sam_size: Size | None = None
    """In place of the size that the model says."""
    dino_size: Size | None = None
    intensity: str | None = None
    """Which stored values of pictures are black and white, see `ModelConfig`; by default those that
    its weights were trained with, or else the full range."""

    def __post_init__(self) -> None:
        told = self.intensity or "full"
        config = CustomConfig(self.name, _given(self.sam_size, 352), self.dino_size, told)
        if self.intensity is not None:  # as it is kept
            object.__setattr__(self, "intensity", config.intensity)

    @classmethod
    def of(cls, model: CustomSource | str | Callable[..., object]) -> CustomSource:
        """From an import path or the callable itself.

        Raises:
            CustomModelError: Nothing callable is found under the import path.
        """
        if isinstance(model, CustomSource):
            return model
        if isinstance(model, str):
            return cls(model, resolve(model))
        if not callable(model):
            raise CustomModelError(
                f"an object of type {type(model).__name__} is no model: give a torch.nn.Module, a "
                "function that makes one, or a function of an image"
            )
        return cls(
            model.config.name if isinstance(model, CustomModel) else import_path(model), model
        )

    def make(self) -> CustomModel | ImageFunction:
        """The model.

        Raises:
            CustomModelError: It cannot be made, or what is made is no model.
        """
        made: object = self.target
        if not isinstance(made, nn.Module):
            needed = _needed_by(self.target)
            if needed == []:
                try:
                    made = self.target()
                except DsunetError:
                    raise
                except (Exception, SystemExit) as error:
                    raise CustomModelError(f"{self.name} {explain(error)}") from error
            elif isinstance(made, type) or (needed is not None and len(needed) > 1):
                raise CustomModelError(
                    f"{self.name} needs the arguments {', '.join(needed or ())}; name a function "
                    "that makes the model without any, or one that maps an image, its only argument"
                )
        if isinstance(made, nn.Module):
            return self._as_network(made)
        if not callable(made):
            raise CustomModelError(
                f"{self.name} makes an object of type {type(made).__name__}; a torch.nn.Module, or "
                "a function of an image, is needed"
            )
        return ImageFunction(made, self.name)

    def _as_network(self, made: nn.Module) -> CustomModel:
        model = made if isinstance(made, CustomModel) else CustomModel(made)
        sizes = model.config.sam_size, model.config.dino_size
        if self.dino_size is not None and sizes[1] is None:
            raise CustomModelError(
                f"{self.name} takes one view, so it has no dino_size: leave it out, or make "
                "dsunet.CustomModel(network, dino_size=…) if it takes two"
            )
        model.config = CustomConfig(
            self.name,
            _given(self.sam_size, sizes[0]),
            _given(self.dino_size, sizes[1]),
            self.intensity or model.config.intensity,
        )
        return model

    def network(self) -> CustomModel:
        """The model, which has to be a network.

        Raises:
            CustomModelError: It cannot be made, or is a function of an image.
        """
        made = self.network_or_none()
        if made is None:
            raise CustomModelError(
                f"{self.name} is a function of an image: it can predict, but has no weights; a "
                "torch.nn.Module, or a function without arguments that makes one, is needed"
            )
        return made

    def network_or_none(self) -> CustomModel | None:
        """The model, or `None` if it is a function of an image; raises as `make` does."""
        made = self.make()
        return None if isinstance(made, ImageFunction) else made

    def is_found_by_name(self) -> bool:
        """Whether its import path leads to it, so that another process can make it again."""
        try:
            return bool(resolve(self.name) == self.target)
        except CustomModelError:
            return False

    def identity(self) -> dict[str, str | None]:
        """What tells it from another one: its name, and a sum over the files of its code.

        These are the file of the module in its import path and, where they differ, of those that
        define the function or the class.
        """
        target = self.target.network if isinstance(self.target, CustomModel) else self.target
        return {"model": self.name, "code": sum_of_code(self.name, target)}


def _needed_by(target: Callable[..., object]) -> list[str] | None:
    """The arguments that a callable cannot do without; `None` if it does not say."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # functions written in C, such as OpenCV's
        return None
    return [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
