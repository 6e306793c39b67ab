"""Names of tensors elsewhere, and ours for them.

A rule is a pair of templates, theirs and ours. `{i}` stands for a number, `{i+1}` for one that they
count from one and we from zero, `{rest}` for anything. The first rule that fits is taken, in either
direction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = [
    "DSU_NET",
    "EFFICIENTNET_LITE",
    "HF_DINOV2",
    "HF_SAM2",
    "OFFICIAL_HIERA",
    "SAM2_UNET",
    "Rules",
]


class Rules:
    """Renames tensors in both directions.

    Args:
        pairs: Templates, theirs and ours.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs = tuple(pairs)
        self._to_ours = [(_pattern(theirs), theirs, ours) for theirs, ours in pairs]
        self._to_theirs = [(_pattern(ours), ours, theirs) for theirs, ours in pairs]

    def ours(self, name: str) -> str | None:
        """Our name for theirs; `None` if no rule fits."""
        return _apply(self._to_ours, name)

    def theirs(self, name: str) -> str | None:
        """Their name for ours; `None` if no rule fits."""
        return _apply(self._to_theirs, name)


_FIELD = re.compile(r"\{(\w+)(\+1)?\}")


def _pattern(template: str) -> re.Pattern[str]:
    parts, end = [], 0
    for field in _FIELD.finditer(template):
        parts.append(re.escape(template[end : field.start()]))
        parts.append(f"(?P<{field[1]}>{'.+' if field[1] == 'rest' else '[0-9]+'})")
        end = field.end()
    return re.compile("".join(parts) + re.escape(template[end:]))


def _apply(rules: Sequence[tuple[re.Pattern[str], str, str]], name: str) -> str | None:
    for pattern, source, target in rules:
        match = pattern.fullmatch(name)
        if match is None:
            continue
        values = match.groupdict()
        for field in _FIELD.finditer(source):
            if field[2]:
                values[field[1]] = str(int(values[field[1]]) - 1)

        def fill(field: re.Match[str], values: dict[str, str] = values) -> str:
            return str(int(values[field[1]]) + 1) if field[2] else values[field[1]]

        return _FIELD.sub(fill, target)
    return None


def _trunk(theirs: str, ours: str) -> list[tuple[str, str]]:
    """SAM2's trunk with the adapters that DSU-Net and SAM2-UNet put into it."""
    return [
        (
            f"{theirs}.blocks.{{i}}.prompt_learn.0.{{rest}}",
            f"{ours}.blocks.{{i}}.adapter.down.{{rest}}",
        ),
        (
            f"{theirs}.blocks.{{i}}.prompt_learn.2.{{rest}}",
            f"{ours}.blocks.{{i}}.adapter.up.{{rest}}",
        ),
        (
            f"{theirs}.blocks.{{i}}.block.mlp.layers.0.{{rest}}",
            f"{ours}.blocks.{{i}}.block.mlp.fc1.{{rest}}",
        ),
        (
            f"{theirs}.blocks.{{i}}.block.mlp.layers.1.{{rest}}",
            f"{ours}.blocks.{{i}}.block.mlp.fc2.{{rest}}",
        ),
        (f"{theirs}.{{rest}}", f"{ours}.{{rest}}"),
    ]


_RECEPTIVE_FIELD_BLOCKS = [
    ("rfb{i+1}.branch{j}.{rest}", "decoder.reduce.{i}.branches.{j}.{rest}"),
    ("rfb{i+1}.conv_cat.{rest}", "decoder.reduce.{i}.merge.{rest}"),
    ("rfb{i+1}.conv_res.{rest}", "decoder.reduce.{i}.shortcut.{rest}"),
]

_HEADS = [
    ("side{i+1}.{rest}", "decoder.heads.{i}.{rest}"),
]


def _conv_bn(theirs: str, ours: str) -> list[tuple[str, str]]:
    """A convolution and its BatchNorm, which the authors number."""
    return [
        (f"{theirs}.0.{{rest}}", f"{ours}.conv.{{rest}}"),
        (f"{theirs}.1.{{rest}}", f"{ours}.bn.{{rest}}"),
    ]


_DECODER, _FUSE = "decoder{i+1}", "decoder.fuse.{i}"
_WTD, _MODULATE = "dino2sam_down14", "fusion.modulate.0"

# The authors' DSU-Net (class DGSUNet).
DSU_NET = Rules(
    [
        ("backbone_dino.dino_encoder.{rest}", "dinov2.trunk.{rest}"),
        *_trunk("backbone_sam.sam_encoder", "hiera.trunk"),
        (f"{_WTD}.depthwise.wavelet_convs.{{rest}}", f"{_MODULATE}.depthwise.band_convs.{{rest}}"),
        (f"{_WTD}.depthwise.wavelet_scale.{{rest}}", f"{_MODULATE}.depthwise.band_scales.{{rest}}"),
        (f"{_WTD}.{{rest}}", f"{_MODULATE}.{{rest}}"),
        ("fusion4.ca.ca.{rest}", "fusion.attend.0.channel.{rest}"),
        ("fusion4.sa.sa.{rest}", "fusion.attend.0.spatial.{rest}"),
        ("fusion4.pa.pa2.{rest}", "fusion.attend.0.pixel.{rest}"),
        ("fusion4.conv.{rest}", "fusion.attend.0.project.{rest}"),
        *_RECEPTIVE_FIELD_BLOCKS,
        *_conv_bn(f"{_DECODER}.conv_small", f"{_FUSE}.coarse"),
        *_conv_bn(f"{_DECODER}.conv_big", f"{_FUSE}.fine"),
        *_conv_bn(f"{_DECODER}.catconv", f"{_FUSE}.conv"),
        *(
            rule
            for name in ("query", "key")
            for theirs, ours in (
                (f"{name}_project.3", f"{name}.1"),
                (f"{name}_project", f"{name}.0"),
            )
            for rule in _conv_bn(f"{_DECODER}.attention.{theirs}", f"{_FUSE}.attention.{ours}")
        ),
        *(
            rule
            for name in ("value", "out")
            for rule in _conv_bn(
                f"{_DECODER}.attention.{name}_project", f"{_FUSE}.attention.{name}"
            )
        ),
        ("head.{rest}", "decoder.heads.2.{rest}"),
        *_HEADS,
    ]
)

_UP = "up{i+1}.conv.double_conv"

# SAM2-UNet.
SAM2_UNET = Rules(
    [
        *_trunk("encoder", "hiera.trunk"),
        *_RECEPTIVE_FIELD_BLOCKS,
        (f"{_UP}.0.{{rest}}", f"{_FUSE}.0.conv.{{rest}}"),
        (f"{_UP}.1.{{rest}}", f"{_FUSE}.0.bn.{{rest}}"),
        (f"{_UP}.3.{{rest}}", f"{_FUSE}.1.conv.{{rest}}"),
        (f"{_UP}.4.{{rest}}", f"{_FUSE}.1.bn.{{rest}}"),
        ("head.{rest}", "decoder.heads.2.{rest}"),
        *_HEADS,
    ]
)

# The official trunk inside SAM 2: two of timm's names differ.
OFFICIAL_HIERA = Rules(
    [
        ("blocks.{i}.mlp.layers.0.{rest}", "blocks.{i}.mlp.fc1.{rest}"),
        ("blocks.{i}.mlp.layers.1.{rest}", "blocks.{i}.mlp.fc2.{rest}"),
        ("{rest}", "{rest}"),
    ]
)

# SAM 2's trunk as the Hugging Face library transformers names it.
HF_SAM2 = Rules(
    [
        ("patch_embed.projection.{rest}", "patch_embed.proj.{rest}"),
        ("blocks.{i}.layer_norm{j}.{rest}", "blocks.{i}.norm{j}.{rest}"),
        ("blocks.{i}.mlp.proj_in.{rest}", "blocks.{i}.mlp.fc1.{rest}"),
        ("blocks.{i}.mlp.proj_out.{rest}", "blocks.{i}.mlp.fc2.{rest}"),
        ("{rest}", "{rest}"),
    ]
)

# DINOv2 in transformers; query, key and value are apart there and are joined before.
HF_DINOV2 = Rules(
    [
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.mask_token", "mask_token"),
        ("embeddings.register_tokens", "register_tokens"),
        ("embeddings.position_embeddings", "pos_embed"),
        ("embeddings.patch_embeddings.projection.{rest}", "patch_embed.proj.{rest}"),
        ("encoder.layer.{i}.layer_scale{j}.lambda1", "blocks.{i}.ls{j}.gamma"),
        ("encoder.layer.{i}.attention.output.dense.{rest}", "blocks.{i}.attn.proj.{rest}"),
        ("encoder.layer.{i}.attention.o_proj.{rest}", "blocks.{i}.attn.proj.{rest}"),
        ("encoder.layer.{i}.attention.qkv.{rest}", "blocks.{i}.attn.qkv.{rest}"),
        ("encoder.layer.{i}.{rest}", "blocks.{i}.{rest}"),
        ("layernorm.{rest}", "norm.{rest}"),
    ]
)


def _efficientnet(blocks_of_stages: Sequence[int]) -> Rules:
    """EfficientNet-PyTorch's names, and timm's, which count the blocks of each stage anew.

    The blocks of the first stage have no expansion, so that what they project with is timm's first
    pointwise convolution.
    """
    pairs = [("_conv_stem.{rest}", "conv_stem.{rest}"), ("_bn0.{rest}", "bn1.{rest}")]
    places = [(s, j) for s, count in enumerate(blocks_of_stages) for j in range(count)]
    for number, (stage, block) in enumerate(places):
        parts = [
            ("_expand_conv", "conv_pw"),
            ("_bn0", "bn1"),
            ("_depthwise_conv", "conv_dw"),
            ("_bn1", "bn2"),
            ("_project_conv", "conv_pwl"),
            ("_bn2", "bn3"),
        ]
        if stage == 0:
            parts = [
                ("_depthwise_conv", "conv_dw"),
                ("_bn1", "bn1"),
                ("_project_conv", "conv_pw"),
                ("_bn2", "bn2"),
            ]
        pairs += [
            (f"_blocks.{number}.{theirs}.{{rest}}", f"blocks.{stage}.{block}.{ours}.{{rest}}")
            for theirs, ours in parts
        ]
    head = [("_conv_head", "conv_head"), ("_bn1", "bn2"), ("_fc", "classifier")]
    return Rules([*pairs, *((f"{theirs}.{{rest}}", f"{ours}.{{rest}}") for theirs, ours in head)])


# EfficientNet-Lite in EfficientNet-PyTorch, by the number of blocks: lite0; lite1 and lite2.
EFFICIENTNET_LITE = {
    sum(stages): _efficientnet(stages) for stages in ((1, 2, 2, 3, 3, 4, 1), (1, 3, 3, 4, 4, 5, 1))
}
