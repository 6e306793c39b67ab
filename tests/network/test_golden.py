"""Every block against the authors' code: outputs in both modes, and all gradients."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dsunet
from dsunet.network.decoder import SpatialFeatureFusion
from dsunet.network.encoders import AdaptedBlock
from dsunet.network.fusion import ChannelModulation, ContentGuidedAttention
from dsunet.network.layers import HAAR_TAPS, ReceptiveFieldBlock, WaveletConv2d
from dsunet.weights.load import load_weights
from helpers import GOLDEN, Golden, fill, golden_image


class TinyBlock(nn.Module):
    """The linear block that the authors' adapter was run around."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.ModuleDict({"qkv": nn.Linear(20, 60)})
        self.out = nn.Linear(60, 20)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attn["qkv"](x))


class FixedSize(nn.Module):
    """Channel modulation onto the grid of its input, as the golden file has it."""

    def __init__(self, inner: ChannelModulation) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x.shape[-2:])


@dataclass(frozen=True)
class Block:
    """How to build our side of a golden file, and how the authors' names become ours.

    `share` is the part of the README's tolerance that we allow ourselves, so that scaling any one
    tensor by 1.001 is seen; it leaves at least three times the error measured.
    """

    build: Callable[[], nn.Module]
    renames: tuple[tuple[str, str], ...]
    share: float = 0.5


BLOCKS = {
    "adapter_around_linear_block": Block(
        lambda: AdaptedBlock(TinyBlock(), 20, 32),
        ((r"prompt_learn\.0", "adapter.down"), (r"prompt_learn\.2", "adapter.up")),
    ),
    "wavelet_conv_even_5x5": Block(
        lambda: WaveletConv2d(6, kernel_size=5, levels=2),
        (("wavelet_convs", "band_convs"), ("wavelet_scale", "band_scales")),
    ),
    "wavelet_downsample_conv": Block(
        lambda: FixedSize(ChannelModulation(16, 24)),
        (("wavelet_convs", "band_convs"), ("wavelet_scale", "band_scales"), ("^", "inner.")),
    ),
    "receptive_field_block": Block(
        lambda: ReceptiveFieldBlock(24, 8),
        (
            (r"^branch(\d)", r"branches.\1"),
            ("conv_cat", "merge"),
            ("conv_res", "shortcut"),
        ),
        share=0.3,
    ),
    "content_guided_attention": Block(
        lambda: ContentGuidedAttention(16),
        (
            (r"^ca\.ca", "channel"),
            (r"^sa\.sa", "spatial"),
            (r"^pa\.pa2", "pixel"),
            ("^conv", "project"),
        ),
        share=0.1,
    ),
    "spatial_feature_fusion": Block(
        lambda: SpatialFeatureFusion(16, 8),
        (
            (r"^conv_small\.", "coarse."),
            (r"^conv_big\.", "fine."),
            (r"^catconv\.", "conv."),
            (r"(query|key)_project\.3\.", r"\1.1."),
            (r"(query|key)_project\.(\d\.\w+)$", r"\1.0.\2"),
            (r"(value|out)_project\.", r"\1."),
            (r"\.0\.(weight)$", r".conv.\1"),
            (r"\.1\.(weight|bias|running_mean|running_var)$", r".bn.\1"),
        ),
    ),
}
NAMES = sorted(BLOCKS)


def our_name(block: Block, theirs: str) -> str:
    for pattern, replacement in block.renames:
        theirs = re.sub(pattern, replacement, theirs)
    return theirs


def load_block(name: str) -> tuple[nn.Module, Golden]:
    golden, block = Golden(name), BLOCKS[name]
    module = block.build()
    state = {
        our_name(block, k): v
        for k, v in golden.under("state/").items()
        if not k.endswith("wt_filter")
    }
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing), missing
    return module, golden


def inputs_of(golden: Golden) -> list[Tensor]:
    given = golden.under("input/")
    return [given[str(i)].clone().requires_grad_() for i in range(len(given))]


def output_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference as a multiple of what the golden values' README allows."""
    return float((actual - expected).abs().max() / (1e-5 * expected.abs().max()))


def gradient_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / (5e-5 * expected.abs().max() + 1e-7))


@pytest.mark.parametrize("name", NAMES)
def test_eval_output(name: str) -> None:
    module, golden = load_block(name)
    with torch.no_grad():
        output = module.eval()(*inputs_of(golden))
    assert output_error(output, golden["eval/output"]) <= BLOCKS[name].share


@pytest.mark.parametrize("name", NAMES)
def test_train_output_and_gradients(name: str) -> None:
    module, golden = load_block(name)
    inputs = inputs_of(golden)
    output = module.train()(*inputs)
    share = BLOCKS[name].share
    assert output_error(output.detach(), golden["train/output"]) <= share
    output.square().mean().backward()
    for i, x in enumerate(inputs):
        assert x.grad is not None
        assert gradient_error(x.grad, golden[f"train/grad_input/{i}"]) <= share, f"input {i}"
    parameters = dict(module.named_parameters())
    expected = golden.under("train/grad/")
    assert {our_name(BLOCKS[name], key) for key in expected} == set(parameters)
    for key, gradient in expected.items():
        parameter = parameters[our_name(BLOCKS[name], key)]
        assert parameter.grad is not None
        assert gradient_error(parameter.grad, gradient) <= share, key


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_matters(name: str) -> None:
    """Scaling any one learnable tensor by 1.001 breaks parity in an output or a gradient."""
    module, golden = load_block(name)
    expected = golden.under("train/grad/")
    gradients = {our_name(BLOCKS[name], key): value for key, value in expected.items()}
    for key in dict(module.named_parameters()):
        module, _ = load_block(name)
        dict(module.named_parameters())[key].data.mul_(1.001)
        inputs = inputs_of(golden)
        with torch.no_grad():
            errors = [output_error(module.eval()(*inputs), golden["eval/output"])]
        output = module.train()(*inputs)
        errors.append(output_error(output.detach(), golden["train/output"]))
        output.square().mean().backward()
        errors += [
            gradient_error(x.grad, golden[f"train/grad_input/{i}"]) for i, x in enumerate(inputs)
        ]
        errors += [gradient_error(p.grad, gradients[n]) for n, p in module.named_parameters()]
        assert max(errors) > BLOCKS[name].share, f"{key} could be wrong unnoticed"


@pytest.mark.parametrize("name", ["wavelet_conv_even_5x5", "wavelet_downsample_conv"])
def test_taps_are_the_authors(name: str) -> None:
    ours = torch.tensor(HAAR_TAPS).unsqueeze(1)
    for key, theirs in Golden(name).under("state/").items():
        if key.endswith("wt_filter"):
            torch.testing.assert_close(theirs, ours.repeat(theirs.shape[0] // 4, 1, 1, 1))


@pytest.mark.parametrize(
    ("bce", "key"), [("mean", "published_loss"), ("boundary_weighted", "weighted_bce_loss")]
)
def test_structure_loss(bce: str, key: str) -> None:
    golden = Golden("structure_loss")
    loss = dsunet.structure_loss(golden["logits"], golden["target"], bce=bce)
    assert float(loss) == pytest.approx(float(golden[key]), rel=1e-5)


def test_structure_loss_gradient() -> None:
    golden = Golden("structure_loss")
    logits = golden["logits"].clone().requires_grad_()
    dsunet.structure_loss(logits, golden["target"]).backward()
    assert gradient_error(logits.grad, golden["published_grad"]) <= 1


@pytest.fixture(scope="module", params=["dsunet", "sam2unet"])
def whole(request, tmp_path_factory) -> Iterator[tuple[str, Path, int]]:
    """A file in the authors' format with the golden values: model's name, file, number of tensors.

    Every tensor has values of its own, which depend on its name.
    """
    name = request.param
    shapes = json.loads((GOLDEN / f"whole_{name}_large_keys.json").read_text())
    haar = torch.tensor(HAAR_TAPS).unsqueeze(1)
    state = {}
    for key, shape in shapes.items():
        if key.endswith("wt_filter"):
            state[key] = haar.repeat(shape[0] // 4, 1, 1, 1)
        else:
            state[key] = torch.from_numpy(fill(f"shared/{key}", shape))
    file = tmp_path_factory.mktemp("whole") / "authors.pth"
    torch.save(state, file)
    del state
    yield name, file, len(shapes)
    file.unlink()


def assert_golden(model: dsunet.DSUNet, name: str) -> None:
    """The logits of the whole network are the authors'."""
    sam = torch.from_numpy(golden_image(12, 1, 352))
    dino = torch.from_numpy(golden_image(11, 1, 518)) if model.semantic else None
    with torch.no_grad():
        logits = model.eval()(sam, dino)
    with np.load(GOLDEN / f"whole_{name}_large.npz") as golden:
        for key in ("coarse", "middle", "fine"):
            ours = getattr(logits, key)[0, 0, ::4, ::4].numpy()
            difference = np.abs(ours - golden[key]).max() / np.abs(golden[key]).max()
            assert difference <= 2e-3, f"{key} differs by {difference:.1e} of the largest value"


@pytest.mark.slow
def test_whole_large_model(whole: tuple[str, Path, int], tmp_path: Path) -> None:
    """The complete network, from a file in the authors' format to the authors' logits."""
    name, file, count = whole
    model = dsunet.create_model(f"{name}-large", weights=None)
    report = load_weights(model, file)
    assert not report.missing
    assert not report.unexpected
    assert len(report.loaded) + len(report.ignored) == count
    assert_golden(model, name)
    # what training changes is small, and with the encoders found again it is the same network
    dsunet.save(model, tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < 32e6
    del model
    assert_golden(dsunet.load(tmp_path / "small.safetensors"), name)


@pytest.mark.slow
def test_whole_large_model_there_and_back(whole: tuple[str, Path, int], tmp_path: Path) -> None:
    """Converted to our format the file gives the same logits, converted back the same tensors."""
    name, file, count = whole
    dsunet.convert(file, tmp_path / "ours.safetensors", include_encoders=True)
    assert_golden(dsunet.load(tmp_path / "ours.safetensors"), name)
    dsunet.convert(tmp_path / "ours.safetensors", tmp_path / "back.pth")
    first = torch.load(file, mmap=True, weights_only=True)
    back = torch.load(tmp_path / "back.pth", mmap=True, weights_only=True)
    assert set(first) == set(back)
    assert len(back) == count
    assert all(torch.equal(first[key], back[key]) for key in first)
    (tmp_path / "back.pth").unlink()
    (tmp_path / "ours.safetensors").unlink()
