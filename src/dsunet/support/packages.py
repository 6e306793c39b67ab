"""What is not there because nobody installed it, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dsunet.errors import MissingPackageError

__all__ = ["needing"]

# What only training, and networks of torch, need; see the extra `train` in pyproject.toml.
_OF_TRAINING = frozenset(
    ("huggingface_hub", "lightning", "safetensors", "timm", "torch", "torchmetrics", "torchvision")
)
_OF_SERVING = frozenset(("cv2", "prometheus_client", "python_multipart", "starlette", "uvicorn"))
_OF_REMOTE = frozenset(("aiohttp", "fsspec", "pyarrow"))
_OF_EXTRAS = {"serve": _OF_SERVING, "remote": _OF_REMOTE, "ray": _OF_REMOTE | {"ray"}}


@contextmanager
def needing(what: str, instead: str = "", extra: str = "train") -> Iterator[None]:
    """Says in one line which package is missing, where an import of training's fails.

    Args:
        what: What needs it, to begin the message.
        instead: What can be done without it, to end the message.
        extra: What brings it.

    Raises:
        MissingPackageError: torch, or another package of the extra `train`, is not installed; of
            the extras `serve`, `remote` and `ray`, one of theirs.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _OF_EXTRAS.get(extra, _OF_TRAINING):
            raise
        raise MissingPackageError(
            f"{what} needs the package {package}; pip install 'dsunet[{extra}]'"
            + (f", or {instead}" if instead else "")
        ) from error
