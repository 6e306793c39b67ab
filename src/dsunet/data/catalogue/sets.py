"""The public data sets of the field as data: roles, counts, and how they are laid out on disk.

Nothing here touches a disk; `dsunet.data.catalogue.find` looks for the sets. A further set, or a
whole further task of the same protocol, is an entry in the tables below.

Counts are those of the protocol that papers report on, such as DSU-Net's (section IV-A). Layouts
come from the archives themselves and from public code that reads them; `Layout.source` says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dsunet.data.catalogue.layouts import (
    LART,
    POOLNET,
    PRANET,
    Layout,
    camo,
    cod10k,
    cod_joint,
    cod_test,
    plain,
    polyp_train,
    split_folders,
)
from dsunet.errors import DataError, perhaps

__all__ = ["PUBLIC_SETS", "TASKS", "Layout", "PublicSet", "Task", "task_named"]

Role = Literal["train", "test"]


@dataclass(frozen=True)
class PublicSet:
    """One set: what it is for, how many pairs it has, and where to look for them."""

    name: str
    """As published tables call it."""
    task: str
    """A key of `TASKS`."""
    role: Role
    count: int
    """Pairs in the whole set."""
    layouts: tuple[Layout, ...]
    """In the order in which they are preferred."""
    paper: str
    page: str
    terms: str
    """Terms of use as its authors state them, or that they are unknown."""
    note: str = ""
    without: tuple[str, ...] = ()
    """Stems of images in its archive that do not belong to it."""


@dataclass(frozen=True)
class Task:
    """Sets that are trained on together, and those that the result is tested on."""

    name: str
    title: str
    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All its sets, training sets first."""
        return (*self.train, *self.test)


def task_named(name: str) -> Task:
    """The task of this name.

    Raises:
        DataError: There is none.
    """
    if name not in TASKS:
        hint = perhaps(name, TASKS)
        raise DataError(f"task {name!r} is unknown; known: {', '.join(TASKS)}{hint}")
    return TASKS[name]


_UNKNOWN = "unknown"


def _polyp_test(name: str, count: int, paper: str, terms: str = _UNKNOWN) -> PublicSet:
    layout = Layout(f"TestDataset/{name}/images", f"TestDataset/{name}/masks", source=PRANET)
    return PublicSet(
        name,
        "polyp",
        "test",
        count,
        (layout, *plain(name)),
        paper,
        "github.com/DengPingFan/PraNet",
        terms,
    )


_KVASIR = "Jha et al., MMM 2020"
_CLINIC = "Bernal et al., CMIG 2015"
_KVASIR_TERMS = "research and educational use, says its page; ask for any other"
_CLINIC_TERMS = "research and educational purposes; copyright of Hospital Clínic, Barcelona"

_SOD = (
    PublicSet(
        "DUTS-TR",
        "sod",
        "train",
        10553,
        (
            Layout("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask", source="the archive"),
            Layout("DUTS/Train/Image", "DUTS/Train/Mask", source=LART),
            *plain("DUTS-TR", "TR-DUTS"),
        ),
        "Wang et al., CVPR 2017",
        "saliencydetection.net/duts",
        _UNKNOWN,
    ),
    PublicSet(
        "DUTS-TE",
        "sod",
        "test",
        5019,
        (
            Layout("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask", source="the archive"),
            Layout("DUTS/Test/Image", "DUTS/Test/Mask", source=LART),
            *plain("DUTS-TE", "TE-DUTS"),
        ),
        "Wang et al., CVPR 2017",
        "saliencydetection.net/duts",
        _UNKNOWN,
    ),
    PublicSet(
        "DUT-OMRON",
        "sod",
        "test",
        5168,
        (
            Layout(
                "DUT-OMRON/DUT-OMRON-image", "DUT-OMRON/pixelwiseGT-new-PNG", source="the archives"
            ),
            Layout(
                "DUT-OMRON/DUT-OMRON-image/DUT-OMRON-image",
                "DUT-OMRON/DUT-OMRON-gt-pixelwise.zip/pixelwiseGT-new-PNG",
                source="the archives, each unpacked into a folder of its name",
            ),
            Layout("DUT-OMRON-image", "pixelwiseGT-new-PNG", source="the archives, side by side"),
            Layout("DUTOMRON/Imgs", "DUTOMRON/Imgs", source=POOLNET),
            *plain("DUT-OMRON", "DUTS-OMRON", "DUT-O"),
        ),
        "Yang et al., CVPR 2013",
        "saliencydetection.net/dut-omron",
        _UNKNOWN,
        "archives from before 2018 have four images more, without masks, which the page asks to "
        "delete: they are left out",
        (
            "img_561715398",
            "sun_bqfgwnmzhjwuphdi",
            "sun_bswlalhygmnrhvuw",
            "sun_buaqzytduodbufcb",
        ),
    ),
    PublicSet(
        "HKU-IS",
        "sod",
        "test",
        4447,
        (
            Layout("HKU-IS/imgs", "HKU-IS/gt", source="the archive"),
            Layout("HKU-IS/Imgs", "HKU-IS/Imgs", source=POOLNET),
            *plain("HKU-IS"),
        ),
        "Li and Yu, CVPR 2015",
        "i.cs.hku.hk/~gbli/deep_saliency.html",
        _UNKNOWN,
        "images are PNG files",
    ),
    PublicSet(
        "PASCAL-S",
        "sod",
        "test",
        850,
        (
            Layout(
                "datasets/imgs/pascal", "datasets/masks/pascal", source="the archive salObj.zip"
            ),
            Layout("PASCAL-S/Imgs", "PASCAL-S/Imgs", source=POOLNET),
            *plain("PASCAL-S"),
        ),
        "Li et al., CVPR 2014",
        "cbs.ic.gatech.edu/salobj",
        _UNKNOWN,
        "masks of the original archive are grey, the share of twelve viewers who chose an object; "
        "tables threshold them at a half",
    ),
    PublicSet(
        "ECSSD",
        "sod",
        "test",
        1000,
        (
            Layout("ECSSD/images", "ECSSD/ground_truth_mask", source="the archives"),
            Layout("ECSSD/Imgs", "ECSSD/Imgs", source=POOLNET),
            *plain("ECSSD"),
        ),
        "Yan et al., CVPR 2013; Shi et al., TPAMI 2016",
        "www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html",
        _UNKNOWN,
    ),
)

_COD_TERMS = "non-commercial, says its repository"
_CAMO_PAGE = "sites.google.com/view/ltnghia/research/camo"
_CAMO_LEAK = "its training image 00419 is test image 00120 with bars above and below"


_COD = (
    PublicSet(
        "CAMO-train",
        "cod",
        "train",
        1000,
        (
            *cod_joint("camourflage_*"),
            *camo("Train"),
            *plain("CAMO-train", "TR-CAMO", "CAMO/Train"),
        ),
        "Le et al., CVIU 2019",
        _CAMO_PAGE,
        _UNKNOWN,
        f"{_CAMO_LEAK}; files are called camourflage_*",
    ),
    PublicSet(
        "COD10K-train",
        "cod",
        "train",
        3040,
        (
            *cod_joint("COD10K-CAM-*"),
            *cod10k("Train"),
            *plain("COD10K-train", "TR-COD10K", "COD10K/Train", pattern="COD10K-CAM-*"),
        ),
        "Fan et al., CVPR 2020",
        "github.com/DengPingFan/SINet",
        _COD_TERMS,
        "the camouflaged ones of its 6,000 training images, COD10K-CAM-*",
    ),
    PublicSet(
        "CAMO",
        "cod",
        "test",
        250,
        (*cod_test("CAMO"), *camo("Test"), *plain("CAMO-test", "CAMO/Test")),
        "Le et al., CVIU 2019",
        _CAMO_PAGE,
        _UNKNOWN,
        _CAMO_LEAK,
    ),
    PublicSet(
        "COD10K",
        "cod",
        "test",
        2026,
        (
            *cod_test("COD10K", "COD10K-CAM-*"),
            *cod10k("Test"),
            *plain("COD10K-test", "COD10K/Test", pattern="COD10K-CAM-*"),
        ),
        "Fan et al., CVPR 2020",
        "github.com/DengPingFan/SINet",
        _COD_TERMS,
        "the camouflaged ones of its 4,000 test images, COD10K-CAM-*",
    ),
    PublicSet(
        "CHAMELEON",
        "cod",
        "test",
        76,
        cod_test("CHAMELEON"),
        "Skurowski et al., 2018 (manuscript)",
        "www.polsl.pl/rau6/chameleon-database-animal-camouflage-analysis",
        _UNKNOWN,
    ),
    PublicSet(
        "NC4K",
        "cod",
        "test",
        4121,
        (*cod_test("NC4K"), *plain("CleanerNC4K", "ClearnerNC4K")),
        "Lv et al., CVPR 2021",
        "github.com/JingZhang617/COD-Rank-Localize-and-Segment",
        _UNKNOWN,
    ),
)

_POLYP = (
    PublicSet(
        "Kvasir-train",
        "polyp",
        "train",
        900,
        (*polyp_train("c[jk]*"), *plain("Kvasir-train")),
        _KVASIR,
        "datasets.simula.no/kvasir-seg",
        _KVASIR_TERMS,
        "PraNet's choice of Kvasir-SEG's 1,000 images",
    ),
    PublicSet(
        "CVC-ClinicDB-train",
        "polyp",
        "train",
        550,
        (*polyp_train("[0-9]*"), *plain("CVC-ClinicDB-train")),
        _CLINIC,
        "polyp.grand-challenge.org/CVCClinicDB",
        _CLINIC_TERMS,
        "PraNet's choice of the 612 frames, at random: frames of one film are in both parts",
    ),
    _polyp_test("CVC-300", 60, "Vázquez et al., JHE 2017"),
    _polyp_test("CVC-ClinicDB", 62, _CLINIC, _CLINIC_TERMS),
    _polyp_test("Kvasir", 100, _KVASIR, _KVASIR_TERMS),
    _polyp_test("CVC-ColonDB", 380, "Tajbakhsh et al., TMI 2016"),
    _polyp_test("ETIS-LaribPolypDB", 196, "Silva et al., IJCARS 2014"),
)


def _roles(name: str, training: int, tests: int) -> tuple[tuple[str, Role, int], ...]:
    return (f"{name}-train", "train", training), (name, "test", tests)


_OTHERS = tuple(
    PublicSet(own, task, role, count, split_folders(name, role), paper, page, _UNKNOWN)
    for name, task, paper, page, training, tests in (
        ("MAS3K", "marine", "Li et al., TCSVT 2022", "github.com/LinLi-DL/MAS", 1769, 1141),
        (
            "MSD",
            "mirror",
            "Yang et al., ICCV 2019",
            "mhaiyang.github.io/ICCV2019_MirrorNet",
            3063,
            955,
        ),
    )
    for own, role, count in _roles(name, training, tests)
)

PUBLIC_SETS: dict[str, PublicSet] = {each.name: each for each in (*_SOD, *_COD, *_POLYP, *_OTHERS)}


def _task(name: str, title: str) -> Task:
    sets = [each for each in PUBLIC_SETS.values() if each.task == name]
    return Task(
        name,
        title,
        tuple(each.name for each in sets if each.role == "train"),
        tuple(each.name for each in sets if each.role == "test"),
    )


TASKS: dict[str, Task] = {
    name: _task(name, title)
    for name, title in (
        ("sod", "salient objects"),
        ("cod", "camouflaged objects"),
        ("polyp", "polyps in colonoscopy"),
        ("marine", "marine animals"),
        ("mirror", "mirrors"),
    )
}
