"""Image → mask at its own size, from Python and for whole folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dsunet.config import as_size
from dsunet.data.images import IMAGE_SUFFIXES, read_image, to_rgb
from dsunet.data.views import Views, make_views
from dsunet.devices import Precision, choose_device, choose_precision
from dsunet.errors import DataError, ImageError, OutputError
from dsunet.files import write_atomically
from dsunet.inference import lay_out, predict_probabilities, quantise
from dsunet.model import DSUNet, load
from dsunet.visualize import cutout, overlay

__all__ = ["KINDS", "Job", "Segmentation", "Segmenter", "plan_outputs", "predict_files"]

KINDS = ("probability", "binary", "overlay", "cutout")


@dataclass(frozen=True)
class Segmentation:
    """One image and where its object is."""

    image: Image.Image
    """RGB, turned as its EXIF orientation says."""
    probability: np.ndarray
    """H×W float32 in 0..1, at the image's own size."""

    def binary(self, threshold: float = 0.5) -> np.ndarray:
        """The object: H×W bool, true from `threshold` on."""
        return self.probability >= threshold

    def map(self, *, benchmark_normalization: bool = False) -> np.ndarray:
        """The probability as H×W uint8, see `dsunet.inference.quantise`."""
        return quantise(self.probability, benchmark_normalization=benchmark_normalization)

    def overlay(self, threshold: float = 0.5) -> Image.Image:
        """The image with the object tinted and outlined: RGB."""
        return overlay(self.image, self.probability, threshold)

    def cutout(self) -> Image.Image:
        """The image on a transparent background: RGBA."""
        return cutout(self.image, self.probability)


class Segmenter:
    """A model ready to segment images.

    Args:
        model: A model, or the path of a weights file or of a run's folder.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`; see `choose_precision`.

    Raises:
        CheckpointError: The file is missing, broken or not ours.
        DeviceError: The device is not usable.
    """

    def __init__(
        self, model: DSUNet | str | Path, device: str = "auto", precision: Precision = "auto"
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        network = model if isinstance(model, DSUNet) else load(model)
        if network.config is None:
            raise ValueError("the model has no config to take its image sizes from")
        self.model = lay_out(network.to(self.device), self.device).eval()
        self.sam_size = as_size(network.config.sam_size)
        self.dino_size = as_size(network.config.dino_size) if network.dinov2 else None

    def __call__(self, image: str | Path | Image.Image | np.ndarray) -> Segmentation:
        """Segments one image: a path, a PIL image, or H×W×3 uint8.

        Raises:
            ImageError: The file cannot be decoded, or the array is no RGB image.
        """
        picture = _as_picture(image)
        views = make_views(picture, self.sam_size, self.dino_size)
        return Segmentation(picture, self.probabilities([views])[0])

    def probabilities(self, views: Sequence[Views]) -> list[np.ndarray]:
        """Probability maps of a batch of views, each H×W float32 at its image's own size."""
        sam = torch.stack([view.sam for view in views]).to(self.device)
        dinos = [view.dino for view in views if view.dino is not None]
        dino = torch.stack(dinos).to(self.device) if dinos else None
        autocast = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=autocast):
            return predict_probabilities(self.model, sam, dino, [view.size for view in views])


def _as_picture(image: str | Path | Image.Image | np.ndarray) -> Image.Image:
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(
            f"the array has shape {image.shape} and type {image.dtype}, but H×W×3 uint8 (RGB) is "
            "needed"
        )
    return Image.fromarray(image)


@dataclass(frozen=True)
class Job:
    """An image to segment, and the name of its outputs relative to the output folder."""

    image: Path
    name: Path


def plan_outputs(
    paths: Sequence[str | Path],
    output: str | Path,
    save: Sequence[str] = ("probability",),
    names: Sequence[str] | None = None,
) -> list[Job]:
    """The images meant by files and folders (searched recursively), each with its output's name.

    A file `photo.jpg` becomes `photo.png`; a file inside a given folder keeps its subfolder. What
    lies in `output` itself is not searched.

    Args:
        paths: Images and folders.
        output: Folder that will be written to.
        save: What will be written there, see `predict_files`.
        names: Take these stems only, such as those of a run's `val.txt`.

    Raises:
        DataError: A path does not exist, no image is found, a name of the list is not found, or
            two images would get one name.
        OutputError: An image would be overwritten by an output.
    """
    jobs: dict[Path, Job] = {}
    folder = Path(output).resolve()
    for path in map(Path, paths):
        if path.is_dir():
            found = [
                (file, file.relative_to(path))
                for file in sorted(path.rglob("*"))
                if file.suffix.lower() in IMAGE_SUFFIXES
                and not file.name.startswith(".")
                and (path.resolve() == folder or folder not in file.resolve().parents)
            ]
            if not found:
                raise DataError(f"the folder {path} holds no images")
        elif path.is_file():
            found = [(path, Path(path.name))]
        else:
            raise DataError(f"there is no file or folder {path}; give images or folders of images")
        for file, relative in found:
            name = relative.with_suffix(".png")
            if name in jobs:
                raise DataError(
                    f"{jobs[name].image} and {file} would both be written to {name}; rename one, "
                    "or predict them into different folders"
                )
            jobs[name] = Job(file, name)
    if names is not None:
        absent = set(names) - {name.stem for name in jobs}
        if absent or not names:
            raise DataError(
                f"{len(absent)} of the {len(names)} names in the list are not among the images "
                f"({', '.join(sorted(absent)[:20])})"
            )
        jobs = {name: job for name, job in jobs.items() if name.stem in set(names)}
    inputs = {job.image.resolve() for job in jobs.values()}
    for job in jobs.values():
        for kind in save:
            target = output_path(folder, kind, save, job)
            if target in inputs:
                raise OutputError(
                    f"the image {target} would be overwritten by its own {kind}; choose another "
                    "--output"
                )
    return [jobs[name] for name in sorted(jobs)]


def output_path(folder: Path, kind: str, save: Sequence[str], job: Job) -> Path:
    """Where one output of a job goes: one kind directly, several into a subfolder each."""
    return (folder / kind if len(save) > 1 else folder) / job.name


def predict_files(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    output: str | Path,
    *,
    save: Sequence[str] = ("probability",),
    threshold: float = 0.5,
    benchmark_normalization: bool = False,
    batch_size: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[Path, str]]:
    """Segments images and writes what is asked for; a broken image does not stop the others.

    Args:
        segmenter: The model.
        jobs: What `plan_outputs` gives.
        output: Folder to write to. One kind goes there directly, several go to a subfolder each.
        save: Of `KINDS`: grey probability map, black-and-white mask, overlay, cut-out.
        threshold: From which probability a pixel belongs to the object, for binary and overlay.
        benchmark_normalization: Stretch every probability map to its full range, see `quantise`.
        batch_size: Images per pass. Other sizes than 1 may change the last digit.
        progress: Called with the number of images done and the number of all.

    Returns:
        The images that failed, each with the reason.
    """
    failures: list[tuple[Path, str]] = []
    done = 0
    for start in range(0, len(jobs), batch_size):
        batch = jobs[start : start + batch_size]
        readable = list(chain.from_iterable(_read(job, segmenter, failures) for job in batch))
        maps = segmenter.probabilities([views for _, _, views in readable]) if readable else []
        for (job, picture, _), probability in zip(readable, maps, strict=True):
            result = Segmentation(picture, probability)
            for kind in save:
                if kind == "probability":
                    array = result.map(benchmark_normalization=benchmark_normalization)
                    written = Image.fromarray(array)
                elif kind == "binary":
                    written = Image.fromarray(result.binary(threshold).astype(np.uint8) * 255)
                elif kind == "overlay":
                    written = result.overlay(threshold)
                else:
                    written = result.cutout()
                encoded = BytesIO()
                written.save(encoded, "PNG")
                write_atomically(output_path(Path(output), kind, save, job), encoded.getvalue())
        done += len(batch)
        if progress:
            progress(done, len(jobs))
    return failures


def _read(
    job: Job, segmenter: Segmenter, failures: list[tuple[Path, str]]
) -> Iterator[tuple[Job, Image.Image, Views]]:
    try:
        picture = read_image(job.image)
    except (ImageError, OSError) as error:
        failures.append((job.image, str(error)))
    else:
        yield job, picture, make_views(picture, segmenter.sam_size, segmenter.dino_size)
