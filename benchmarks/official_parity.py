"""Our encoders against the official classes and those of transformers, on the same made-up weights.

    pip install --no-deps --target official-classes sam2 dinov2 transformers tokenizers regex \
        hydra-core omegaconf iopath portalocker antlr4-python3-runtime==4.9.3
    export PYTHONPATH=official-classes
    python benchmarks/official_parity.py --output benchmarks/official.json

(sam2 comes as a source archive; unpack it into the same folder.) Each official model gets random
weights and is saved as its own code saves it; the file is read by dsunet; features of one random
image are compared. Sizes other than DINOv2's own 518 px test the position embeddings. The record
has the largest difference and the largest value of every comparison.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsunet.network.encoders import build_hiera, build_vit
from dsunet.support.files import write_json
from dsunet.weights.encoders import read_encoder
from dsunet.weights.fitting import fill_trunk
from measuring import circumstances

SIDES = ((518, 518), (448, 448), (224, 224), (182, 252), (700, 700))


def differences(theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> dict[str, float]:
    """The largest difference between some maps, and their largest value."""
    return {
        "largest_difference": max(float((a - b).abs().max()) for a, b in zip(theirs, ours)),  # noqa: B905
        "largest_value": max(float(a.abs().max()) for a in theirs),
    }


def shake(model: nn.Module) -> nn.Module:
    """Random values everywhere, layer scales and position embeddings included."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.05)
    return model.eval()


def official_dinov2(folder: Path) -> dict[str, Any]:
    """facebookresearch/dinov2's own class at several sizes, and how far timm's way is off."""
    from semantic.models.vision_transformer import vit_small

    model = shake(vit_small(patch_size=14, img_size=518, init_values=1.0, block_chunks=0))
    torch.save(model.state_dict(), folder / "dinov2.pth")
    file = read_encoder(folder / "dinov2.pth", "semantic")
    found = {}
    for side in SIDES:
        image = torch.randn(1, 3, *side)
        theirs = model.forward_features(image)["x_norm_patchtokens"]
        for way in ("official", "timm"):
            build = partial(build_vit, "vit_small_patch14_dinov2", side)
            ours: Any = fill_trunk(build, file, way).eval()
            maps = ours.forward_features(image)[:, 1:]
            found[f"{side[0]}x{side[1]}, {way}"] = differences([theirs], [maps])
    return found


def official_sam2(folder: Path) -> dict[str, Any]:
    """facebookresearch/sam2's own trunk inside a whole SAM 2.1."""
    from sam2.build_sam import build_sam2

    config = "configs/sam2.1/sam2.1_hiera_t.yaml"
    model = build_sam2(config, None, device="cpu", apply_postprocessing=False)
    shake(model.image_encoder.trunk)
    torch.save({"model": model.state_dict()}, folder / "sam2.pt")
    file = read_encoder(folder / "sam2.pt", "pyramid")
    ours: Any = fill_trunk(partial(build_hiera, "sam2_hiera_tiny"), file).eval()
    image = torch.randn(1, 3, 352, 352)
    theirs = model.image_encoder.trunk(image)
    maps = ours.forward_intermediates(image, intermediates_only=True)
    return {"352x352": differences(theirs, maps), "release": file.version}


def transformers_dinov2(folder: Path, registers: bool) -> dict[str, Any]:
    """The library's DINOv2 at its own size, saved and read under its files' names."""
    import transformers

    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=384, num_attention_heads=6, num_hidden_layers=12, image_size=518, patch_size=14
    )
    model = shake(getattr(transformers, f"{kind}Model")(config))
    model.save_pretrained(folder / kind)
    file = read_encoder(folder / kind / "model.safetensors", "semantic")
    name = f"vit_small_patch14_{'reg4_' if registers else ''}dinov2"
    ours: Any = fill_trunk(partial(build_vit, name, (518, 518)), file).eval()
    image = torch.randn(1, 3, 518, 518)
    theirs = model(pixel_values=image).last_hidden_state
    return {"518x518": differences([theirs], [ours.forward_features(image)])}


def transformers_sam2(folder: Path) -> dict[str, Any]:
    """The library's SAM 2 with its memory parts."""
    import transformers

    model = transformers.Sam2VideoModel(transformers.Sam2VideoConfig()).eval()
    shake(model.vision_encoder.backbone)
    model.save_pretrained(folder / "sam2")
    file = read_encoder(folder / "sam2" / "model.safetensors", "pyramid")
    ours: Any = fill_trunk(partial(build_hiera, "sam2_hiera_tiny"), file).eval()
    image = torch.randn(1, 3, 256, 256)
    theirs = model.vision_encoder.backbone(image).intermediate_hidden_states
    maps = ours.forward_intermediates(image, intermediates_only=True)
    return {"256x256": differences([x.permute(0, 3, 1, 2) for x in theirs], maps)}


@torch.no_grad()
def main() -> None:
    """Reads the arguments and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            "official DINOv2 ViT-S/14": official_dinov2(folder),
            "official SAM 2.1 Hiera-T": official_sam2(folder),
            "transformers DINOv2 ViT-S/14": transformers_dinov2(folder, registers=False),
            "transformers DINOv2 ViT-S/14, registers": transformers_dinov2(folder, registers=True),
            "transformers SAM 2 Hiera-T": transformers_sam2(folder),
        }
    for model, record in found.items():
        print(model, record)
    write_json(arguments.output, {**circumstances(), "compared": found})


if __name__ == "__main__":
    main()
