"""From a trained model and pictures to thresholds, and into its weights file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dsunet.calibration.figure import draw
from dsunet.calibration.thresholds import Calibration, Wanted, choose, observe
from dsunet.config import require_one_class
from dsunet.data import Pair
from dsunet.errors import CheckpointError, DataError, OutputError
from dsunet.predict import Segmenter
from dsunet.predict.pairs import segmented
from dsunet.support.files import check_writable
from dsunet.weights import shipped
from dsunet.weights.checkpoint import read_checkpoint, read_metadata, write_checkpoint
from dsunet.weights.exported import is_exported

__all__ = ["calibrate", "place_for"]


def calibrate(
    segmenter: Segmenter,
    pairs: Sequence[Pair],
    wanted: Wanted | None = None,
    *,
    output: str | Path | None = None,
    figure: str | Path | None = None,
    on_failure: Callable[[str], None] = lambda reason: None,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Chooses thresholds on pictures that a model was not trained on, and keeps them with it.

    Prediction, exports and the service take them from the weights file by default.

    Args:
        segmenter: The model, of a file of dsunet's format.
        pairs: Pictures and masks.
        wanted: What to choose by; by default the best Dice.
        output: The file to write weights and thresholds to; by default the one that the weights
            are from, which is replaced.
        figure: Where to draw the curves, as PNG.
        on_failure: Called with the reason for every picture that cannot be read.
        progress: Called with the number of pictures done and the number of all.

    Raises:
        CheckpointError: There is no weights file that thresholds can be kept in.
        ConfigError: The model is of several classes.
        DataError: No picture can be read, or none of a kind that is needed; or no threshold does.
        OutputError: A file cannot be written.
    """
    require_one_class(segmenter.classes, "calibration", "labels need no threshold")
    target = place_for(segmenter.weights, output)
    for path in (target, *([Path(figure)] if figure is not None else [])):
        check_writable(path.parent)
    lost: list[str] = []
    seen = [
        observe(one.levels, one.truth) for one in segmented(segmenter, pairs, lost.append, progress)
    ]
    if not seen:
        first = f"; the first: {lost[0]}" if lost else ""
        raise DataError(f"no picture could be measured, so there is nothing to choose by{first}")
    for reason in lost:
        on_failure(reason)
    found = choose(seen, wanted or Wanted())
    if figure is not None:
        draw(seen, found, Path(figure))
    assert segmenter.weights is not None
    _keep(found, segmenter, segmenter.weights, target)
    return found


def place_for(weights: Path | None, output: str | Path | None) -> Path:
    """The file that thresholds are to be kept in.

    Args:
        weights: The one that the model is from.
        output: The one that was asked for.

    Raises:
        CheckpointError: The weights are of no file of dsunet's, or those that come with the package
            are to be changed.
        OutputError: `output` is a folder.
    """
    if weights is None:
        raise CheckpointError(
            "the model is of no weights file, which thresholds could be kept in; save it first"
        )
    if is_exported(weights):
        raise CheckpointError(
            f"{weights} is an exported file; calibrate the weights that it was made of, and export "
            "them again"
        )
    read_metadata(weights)  # which says what is wrong with a file of another format
    if output is None:
        if any(weights == shipped.weights_of(name) for name in shipped.SHIPPED):
            raise CheckpointError(
                f"{weights.name} comes with dsunet and is not to be changed; give another file "
                "for it with its thresholds as `output`"
            )
        return weights
    if Path(output).is_dir():
        raise OutputError(f"`output` {output} is a folder; name a file")
    return Path(output)


def _keep(found: Calibration, segmenter: Segmenter, weights: Path, target: Path) -> None:
    """Writes the weights again, with the thresholds among what is said of their training."""
    about, tensors = read_checkpoint(weights)
    looks = segmenter.looks.asked()
    told = {**found.to_dict(), **({"looks": looks} if looks else {})}
    about["training"] = {**about["training"], "calibration": told}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(target, tensors, about)
