"""Every error that dsunet raises on purpose.

Each message says what was given, what is needed and what to do. It names arguments and settings as
Python does, in backticks (`val_fraction`), which the command line turns into flags before it prints
the message as one line and exits with status 1. From Python the classes let a caller tell causes
apart. Any other exception is a mistake in dsunet, and shows as one.
"""

import difflib
import itertools
from collections.abc import Collection, Iterable

__all__ = [
    "AbandonedError",
    "CheckpointError",
    "ConfigError",
    "CustomModelError",
    "DataError",
    "DeviceError",
    "DsunetError",
    "ExportError",
    "ImageError",
    "ImageFormatError",
    "ImageSizeError",
    "InputSizeError",
    "MissingPackageError",
    "OutputError",
    "ServiceError",
    "TrainingError",
    "WeightsError",
    "closest",
    "did_you_mean",
    "few",
    "perhaps",
]


class DsunetError(Exception):
    """Base of all errors that dsunet raises on purpose."""


class ConfigError(DsunetError, ValueError):
    """A setting is unknown, has a value that it cannot have, or does not go with another."""


class DataError(DsunetError):
    """A data set, folder or archive is not laid out as needed."""


class ImageError(DataError):
    """One image or mask cannot be read."""


class ImageFormatError(ImageError):
    """The content is no image of a format that is read."""


class ImageSizeError(ImageError):
    """An image has more pixels than are decoded."""


class InputSizeError(DsunetError, ValueError):
    """A tensor or a configured size does not fit the network."""


class WeightsError(DsunetError):
    """Pretrained weights are unknown, unreachable or do not fit."""


class CheckpointError(WeightsError):
    """A weights file is broken, of an unknown kind, or made for another model."""


class CustomModelError(DsunetError):
    """A model of the user's own cannot be found, made or used."""


class DeviceError(DsunetError):
    """The requested device or precision is not usable on this machine."""


class ExportError(DsunetError):
    """An exported file does not say what its model says."""


class OutputError(DsunetError):
    """An output folder cannot be used."""


class ServiceError(DsunetError):
    """The service cannot start, or not go on."""


class TrainingError(DsunetError):
    """Training cannot go on."""


class AbandonedError(TrainingError):
    """Another of the processes that train together has failed, and says why."""


class MissingPackageError(DsunetError):
    """An optional dependency is needed and not installed."""


def closest(given: str, known: Iterable[str]) -> str:
    """The known name that is most like one that is not; empty if none is like it.

    Capitals and small letters are alike.
    """
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.7)
    return names[found[0]] if found else ""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`did you mean …?` with the `closest` name; empty if there is none."""
    close = closest(given, known)
    return f"did you mean {close}?" if close else ""


def perhaps(given: object, known: Iterable[str]) -> str:
    """What `did_you_mean` says, to end a message; empty if it says nothing."""
    hint = did_you_mean(str(given), known)
    return f"; {hint}" if hint else ""


def few(names: Collection[object], limit: int = 5) -> str:
    """The first few of many names, for a message."""
    shown = ", ".join(str(name) for name in itertools.islice(names, limit))
    return shown + (", …" if len(names) > limit else "")
