"""An engine around another one, which computes."""

from __future__ import annotations

from typing import Any, TypeVar

from dsunet.predict.engines.base import Engine, Size

__all__ = ["EngineAround"]

_Prepared = TypeVar("_Prepared")


class EngineAround(Engine[_Prepared]):
    """What looks at pictures in another way, and leaves the computing to another engine.

    Args:
        engine: What computes; its attributes are this one's.
    """

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self.name, self.runtime = engine.name, engine.runtime
        self.out_of_memory = engine.out_of_memory
        self.device, self.dtype = engine.device, engine.dtype
        self.settings = engine.settings
        self.batches, self.takes_weights = engine.batches, engine.takes_weights

    @property
    def model(self) -> Any:
        """What computes."""
        return self._engine.model

    @property
    def original(self) -> Any:
        """The network of which that is a quicker copy."""
        return self._engine.original

    @original.setter
    def original(self, network: Any) -> None:
        self._engine.original = network

    @property
    def views(self) -> tuple[Size, Size | None] | None:
        return self._engine.views

    @property
    def precision(self) -> str:
        return self._engine.precision

    @property
    def threads(self) -> int:
        return self._engine.threads

    @property
    def parameters(self) -> int:
        return self._engine.parameters

    def identity(self) -> dict[str, str | None]:
        return self._engine.identity()
