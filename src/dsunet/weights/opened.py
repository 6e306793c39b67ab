"""A path of weights, resolved once, and the file there, read once: what all loading starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from dsunet.config import CustomConfig
from dsunet.errors import CheckpointError
from dsunet.support.files import Stamp, stamp_of
from dsunet.weights import shipped
from dsunet.weights.files import read_file
from dsunet.weights.formats import EncoderFile, ModelFile, interpret, interpret_as_state
from dsunet.weights.identify import custom_config_of

__all__ = ["Weights", "find_weights", "open_weights"]


class Weights:
    """A file that was found and read; what it holds is told when somebody asks.

    Tensors stay mapped from the file until they are used, so that an open one takes no memory.

    Attributes:
        path: The file, as the path that was given means it (see `find_weights`).
        stamp: What the file looked like before it was read, see `dsunet.support.files.stamp_of`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp: Stamp | None = None
        with suppress(OSError):  # reading says why
            self.stamp = stamp_of(path)
        with _in_one_line(path):
            self._content, self._metadata = read_file(path)

    @cached_property
    def file(self) -> ModelFile | EncoderFile:
        """What it holds, in any known format.

        Raises:
            CheckpointError: It is incomplete, or of an unknown format.
        """
        with _in_one_line(self.path):
            found = interpret(self._content, self._metadata, self.path)
        return dataclasses.replace(found, stamp=self.stamp)

    @cached_property
    def state(self) -> ModelFile:
        """A file of ours, or else a state dict as it is, whatever its names are.

        Raises:
            CheckpointError: It is broken, or holds no state dict.
        """
        with _in_one_line(self.path):
            found = interpret_as_state(self._content, self._metadata, self.path)
        return dataclasses.replace(found, stamp=self.stamp)

    @property
    def custom(self) -> CustomConfig | None:
        """What it says of a model of the user's own; `None` if it holds no such model."""
        return custom_config_of(self.file) if isinstance(self.file, ModelFile) else None


def open_weights(path: str | Path | Weights) -> Weights:
    """The weights that a path means, read; what is open already stays as it is.

    Args:
        path: A file in any known format, a run's folder, or the name of a model whose weights come
            with the package.

    Raises:
        CheckpointError: There is no such file, or it cannot be read.
    """
    return path if isinstance(path, Weights) else Weights(find_weights(path))


def find_weights(path: str | Path) -> Path:
    """The weights file meant by a path: itself, or the best (else last) one of a run's folder.

    Where there is nothing by that path, the name of a model in `dsunet.weights.shipped`, with its
    version or without, means the weights that come with the package.
    """
    if (file := shipped.meant(path)) is not None:
        return file
    path = Path(path)
    if not path.is_dir():
        return path
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).is_file():
            return path / name
    folds = sorted(path.glob("fold-*/*.safetensors"))
    hint = f"; it holds folds: give one, such as {folds[0].parent}, or all" if folds else ""
    raise CheckpointError(f"{path} is a folder without best.safetensors or last.safetensors{hint}")


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Files made wrongly or on purpose break the reading in many ways, which all mean the same."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} is incomplete, or a tensor in it has an odd shape ({reason}); get it again"
        ) from error
