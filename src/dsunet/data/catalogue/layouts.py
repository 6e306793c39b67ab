"""How data sets are laid out on disk, and the ways of laying them out that several share."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "LART",
    "POOLNET",
    "PRANET",
    "READ_SO",
    "SINET",
    "Layout",
    "camo",
    "cod10k",
    "cod_joint",
    "cod_test",
    "plain",
    "polyp_train",
    "split_folders",
]


@dataclass(frozen=True)
class Layout:
    """Where a set's files are, below a folder. Case, hyphens, dots and underscores do not count."""

    images: str
    """Folder of images, as a POSIX path."""
    masks: str
    """Folder of masks. Where both are one folder, JPEG files are images and PNG files masks."""
    pattern: str = "*"
    """Which stems belong to the set, as a shell pattern: sets may share their folders."""
    shared_masks: bool = False
    """Whether the folder of masks holds those of other sets, too."""
    source: str = "common"
    """Who lays it out so: an archive, code that reads it, or just common usage."""

    def __str__(self) -> str:
        return f"{self.images} + {self.masks}"


# What the two folders inside a set's own folder are called.
_PLAIN = (
    ("images", "masks"),
    ("image", "mask"),
    ("imgs", "gt"),
    ("images", "gt"),
    ("image", "gt"),
    ("im", "gt"),
    ("img", "gt"),
    ("imgs", "masks"),
    ("images", "ground_truth_mask"),
    ("image", "masks"),
)

# Where layouts are from.
LART = "ZoomNet's and MINet's settings"
POOLNET = "PoolNet's re-packed test sets"
PRANET = "PraNet's joint sets"
SINET = "SINet-V2's joint sets"
READ_SO = "public code that reads it so"


def plain(*folders: str, pattern: str = "*") -> tuple[Layout, ...]:
    """A set's own folder under any of its names, with the two folders in it."""
    return tuple(
        Layout(f"{folder}/{images}", f"{folder}/{masks}", pattern)
        for folder in folders
        for images, masks in _PLAIN
    )


def camo(split: str) -> tuple[Layout, ...]:
    """CAMO's own archives: all masks lie in one folder."""
    return tuple(
        Layout(f"{folder}/Images/{split}", f"{folder}/GT", shared_masks=True, source=source)
        for folder, source in (
            ("CAMO-V.1.0-CVIU2019", "the archive"),
            ("CAMO-COCO-V.1.0-CVIU2019/Camouflage", "the archive with COCO images"),
            ("CAMO", "the archive, renamed"),
        )
    )


def cod10k(split: str) -> tuple[Layout, ...]:
    """COD10K's own archive, which holds images without a camouflaged object, too."""
    return tuple(
        Layout(f"{folder}/{split}/Image", f"{folder}/{split}/GT_Object", "COD10K-CAM-*", False, by)
        for folder, by in (
            ("COD10K-v3", "the archive"),
            ("COD10K-v2", READ_SO),
            ("COD10K", "the archive, renamed"),
        )
    )


def cod_joint(pattern: str) -> tuple[Layout, ...]:
    """Training sets of both in one folder."""
    return tuple(
        Layout(f"{folder}/{images}", f"{folder}/{masks}", pattern, source=source)
        for folder, images, masks, source in (
            ("TrainDataset", "Imgs", "GT", SINET),
            ("TrainDataset", "Image", "GT", READ_SO),
            ("TrainValDataset", "Imgs", "GT", READ_SO),
            ("COD-TrainDataset", "Imgs", "GT", READ_SO),
            ("Train/COD10K_CAMO", "Image", "Mask", LART),
            ("COD10K_CAMO_CombinedTrainingDataset", "Image", "GT", READ_SO),
        )
    )


def cod_test(name: str, pattern: str = "*") -> tuple[Layout, ...]:
    """Test sets of camouflaged objects side by side."""
    layouts = (
        Layout(f"TestDataset/{name}/Imgs", f"TestDataset/{name}/GT", pattern, source=SINET),
        Layout(f"Test/{name}/Image", f"Test/{name}/Mask", pattern, source=LART),
    )
    return layouts + plain(name, f"TE-{name}", f"{name}_TestingDataset", pattern=pattern)


def polyp_train(pattern: str) -> tuple[Layout, ...]:
    """Training sets of polyps in one folder."""
    return tuple(
        Layout(f"TrainDataset/{images}", f"TrainDataset/{masks}", pattern, source=source)
        for images, masks, source in (
            ("images", "masks", PRANET),
            ("image", "masks", READ_SO),
            ("image", "mask", READ_SO),
        )
    )


def split_folders(name: str, split: str) -> tuple[Layout, ...]:
    """A set's own folder with one for each split; its test set may lie alone as well."""
    alone = (name,) if split == "test" else ()
    return (
        Layout(f"{name}/{split}/image", f"{name}/{split}/mask", source=READ_SO),
        *plain(f"{name}/{split}", f"{name}-{split}", *alone),
    )
