"""Which stored values are black and white: numbers of every kind, by hand."""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.config import DataConfig, ModelConfig, TrainConfig, model_config
from dsunet.config.intensity import as_intensity
from dsunet.data.images import decode, read_image, read_mask
from dsunet.data.intensity import stretch
from dsunet.data.pairs import Pair
from dsunet.errors import ConfigError, ImageError
from dsunet.maps.store import content_key
from dsunet.network.source import CustomSource
from dsunet.predict.inputs import as_taken
from dsunet.weights.checkpoint import read_metadata

RAMP = np.tile(np.arange(16) * 273, (16, 1))  # 0 to 4095
GREY = np.tile(np.arange(16) * 17, (16, 1)).astype(np.uint8)  # 0 to 255


def _png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, as Pillow cannot write it; H×W×C."""
    kinds = {1: 0, 2: 4, 3: 2, 4: 6}
    height, width, channels = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 16, kinds[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*each) for each in ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("full", "full"),
        ("percentile", "percentile"),
        ("0,4095", "0,4095"),
        (" -1000 , 400 ", "-1000,400"),
        ("0.0,1.5", "0,1.5"),
        ("-1e3,+.5", "-1000,0.5"),
        ([0, 4095], "0,4095"),
        ((0.25, 0.5), "0.25,0.5"),
    ],
)
def test_how_it_is_written(given: object, kept: str) -> None:
    assert as_intensity(given) == kept
    assert ModelConfig(intensity=given).intensity == kept  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["", "auto", "1", "1,2,3", "a,b", "5,5", "4095,0", "nan,1", None])
def test_what_it_cannot_be(given: object) -> None:
    with pytest.raises(ConfigError, match="intensity"):
        as_intensity(given)


def test_stretched_between_two_values() -> None:
    values = np.array([[-50, 0, 100], [300, 400, 900]])
    assert stretch(values, "0,400").tolist() == [[0, 0, 64], [191, 255, 255]]  # 63.75, 191.25
    floats = np.array([[np.nan, -np.inf, np.inf, 0.5]], np.float32)
    assert stretch(floats, "0,1").tolist() == [[0, 0, 255, 128]]


def test_stretched_by_percentiles() -> None:
    values = np.arange(1001.0).reshape(7, 143)  # 5 is the 0.5th percentile, 995 the 99.5th
    expected = np.round((values - 5).clip(0, 990) * (255 / 990))
    assert np.abs(stretch(values, "percentile") - expected).max() <= 0
    broken = np.where(values == 500, np.nan, values)  # counts for nothing, and is black
    assert stretch(broken, "percentile")[3, 71] == 0
    assert np.abs(stretch(broken, "percentile") - expected)[broken == broken].max() <= 1
    lone = np.zeros((100, 100))
    lone[0, 0] = 7  # less than the percentile, but all there is
    assert stretch(lone, "percentile").tolist()[0][:2] == [255, 0]
    assert not stretch(np.full((4, 4), 9), "percentile").any()
    assert not stretch(np.full((4, 4), np.nan), "percentile").any()


def test_percentiles_are_of_what_is_seen() -> None:
    values = np.array([[0, 10, 20, 60_000]])
    seen = np.array([[True, True, True, False]])
    assert stretch(values, "percentile", seen).tolist() == [[0, 128, 255, 255]]


def test_channels_are_stretched_alike() -> None:
    values = np.stack([GREY // 4, GREY // 2, GREY], axis=2)
    assert stretch(values, "0,255").tolist() == values.tolist()


@pytest.mark.parametrize("kind", ["u2", "i2", "i4", "u4", "f2", "f4", "f8", "i1"])
@pytest.mark.parametrize("told", ["range", "percentile"])
def test_tiffs_of_one_number(kind: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.tif"
    least = 0 if kind[0] == "u" else -100
    values = (RAMP // 20 + least).astype(kind)
    tifffile.imwrite(path, values)
    intensity = told if told == "percentile" else f"{least},{least + 204}"
    found = np.asarray(read_image(path, intensity=intensity))
    assert found.shape == (16, 16, 3)
    assert np.abs(found[..., 0] - GREY.astype(int)).max() <= 2
    if kind == "u2":
        assert read_image(path).getextrema()[0][1] <= 1  # nearly black
    else:
        with pytest.raises(ImageError, match=r"range is unknown; tell it \(`intensity`"):
            read_image(path)


def test_large_unsigned_numbers(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "large.tif", (RAMP * 1_000_000).astype(np.uint32))
    found = np.asarray(read_image(tmp_path / "large.tif", intensity="0,4.095e9"))
    assert np.abs(found[..., 0] - GREY.astype(int)).max() <= 1


def test_masks_of_32_bits_stay_numbers(tmp_path: Path) -> None:
    mask = np.where(RAMP > 2000, 1, 0)
    for kind in ("u4", "i4", "i1"):
        tifffile.imwrite(tmp_path / "mask.tif", mask.astype(kind))
        assert np.array_equal(np.asarray(read_mask(tmp_path / "mask.tif")), mask * 255)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pngs_of_16_bits(channels: int, tmp_path: Path) -> None:
    """Where Pillow takes 8 of 16 bits: 4,095 of 65,535 are 16 levels, but have 4,096."""
    values = np.repeat(RAMP[..., None], channels, axis=2)
    if channels in (2, 4):
        values[..., -1] = 65535
    path = tmp_path / "picture.png"
    path.write_bytes(_png16(values))
    found = np.asarray(read_image(path, intensity="0,4095"))
    assert np.abs(found - GREY.astype(int)[..., None]).max() == 0
    fine = np.asarray(read_image(path, intensity="0,273"))
    assert set(np.unique(fine)) == {0, 255}
    values[..., : 3 if channels > 2 else 1] = 100  # all of them below what 8 bits tell apart
    values[0, :, 0] = np.arange(16) * 10
    path.write_bytes(_png16(values))
    found = np.asarray(read_image(path, intensity="0,150"))
    assert np.abs(found[0, :, 0] - np.arange(16) * 17).max() == 0


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiffs_of_16_bits(planar: str, tmp_path: Path) -> None:
    values = np.stack([RAMP, RAMP // 2, np.zeros_like(RAMP)], axis=2).astype(np.uint16)
    path = tmp_path / "picture.tif"
    stored = values if planar == "contig" else np.moveaxis(values, 2, 0)
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar)
    found = np.asarray(read_image(path, intensity="0,4095")).astype(int)
    assert np.abs(found[..., 0] - GREY).max() == 0
    assert np.abs(found[..., 1] - np.round(RAMP // 2 * 255 / 4095)).max() == 0
    assert not found[..., 2].any()


def test_compressed_colours_of_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.tif"
    values = np.stack([RAMP, RAMP // 2, np.zeros_like(RAMP)], axis=2).astype(np.uint16)
    tifffile.imwrite(path, values, photometric="rgb", compression="zlib")
    assert read_image(path).size == (16, 16)
    found = np.asarray(read_image(path, intensity="0,4095")).astype(int)
    assert np.abs(found[..., 0] - GREY).max() == 0
    assert np.abs(found[..., 1] - np.round(RAMP // 2 * 255 / 4095)).max() == 0
    assert not found[..., 2].any()
    turned = [(274, "H", 1, 6, True)]
    tifffile.imwrite(path, values, photometric="rgb", compression="zlib", extratags=turned)
    with pytest.raises(ImageError, match="without compression"):
        read_image(path, intensity="0,4095")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImageError, match="OpenCV is needed"):
        read_image(path, intensity="0,4095")


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK", "RGBA", "LA", "1"])
def test_pictures_of_8_bits(mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(np.repeat(GREY[..., None] // 8, 3, axis=2)).convert(mode)
    path = tmp_path / "picture.tif"
    picture.save(path)
    found = np.asarray(read_image(path, intensity="0,31"))
    expected = stretch(np.asarray(read_image(path)), "0,31")
    assert np.array_equal(found, expected)


def test_what_is_transparent_counts_for_nothing(tmp_path: Path) -> None:
    values = np.dstack([np.repeat((GREY // 8)[..., None], 3, axis=2), np.full_like(GREY, 255)])
    values[:4] = (255, 255, 255, 0)
    Image.fromarray(values).save(tmp_path / "clear.png")
    colours, alpha = decode(tmp_path / "clear.png", intensity="percentile").as_colours()
    assert alpha is not None
    assert np.asarray(colours)[8].max() == 255  # and not 31 of 255


def test_grey_that_png_calls_transparent_counts_for_nothing(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint16)
    values[:4] = 65535
    Image.fromarray(values).save(tmp_path / "clear.png", transparency=65535)
    colours, alpha = decode(tmp_path / "clear.png", intensity="percentile").as_colours()
    assert alpha is not None
    assert np.asarray(colours)[8].max() == 255


def test_arrays_and_tensors_of_any_numbers() -> None:
    for values in (RAMP.astype(np.int16) - 1000, (RAMP - 1000).astype(np.float64)):
        found = np.asarray(as_taken(values, "-1000,3095").picture)
        assert np.abs(found[..., 0] - GREY.astype(int)).max() <= 1
        taken = as_taken(torch.from_numpy(values)[None], "-1000,3095")
        assert np.array_equal(np.asarray(taken.picture), found)
        with pytest.raises(ImageError, match="intensity"):
            as_taken(values)
    with_alpha = np.dstack([RAMP] * 3 + [np.full_like(RAMP, 65535)]).astype(np.uint16)
    with_alpha[0, :, 3] = 0
    taken = as_taken(with_alpha, "0,4095")
    assert taken.alpha is not None
    assert set(np.unique(taken.alpha)) == {0, 255}
    with pytest.raises(ImageError, match="numbers"):
        as_taken(np.zeros((4, 4), complex), "0,1")


def test_keys_of_maps_tell_intensities_apart(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAMP.astype(np.uint16))
    Image.fromarray(GREY).save(tmp_path / "m.png")
    pair = Pair("a", tmp_path / "a.tif", tmp_path / "m.png")
    keys = {content_key(replace(pair, intensity=i)) for i in ("full", "percentile", "0,4095")}
    assert len(keys) == 3


def test_files_say_it_where_it_is_told(tmp_path: Path) -> None:
    assert "intensity" not in model_config("dsunet-nano").to_dict()
    config = model_config("dsunet-nano", intensity="0,4095")
    assert ModelConfig(**config.to_dict()) == config
    assert CustomSource("a.b:c", torch.nn.Identity, intensity="0, 4095").intensity == "0,4095"


def _twelve_bit(folder: Path) -> Path:
    """Discs in 12 of 16 bits."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(6):
        disc = (y - rng.integers(20, 44)) ** 2 + (x - rng.integers(20, 44)) ** 2 < 144
        values = np.where(disc, 3000, 900) + rng.integers(0, 300, disc.shape)
        tifffile.imwrite(folder / "images" / f"{number}.tif", values.astype(np.uint16))
        Image.fromarray(disc.view(np.uint8) * np.uint8(255)).save(
            folder / "masks" / f"{number}.png"
        )
    return folder


@pytest.mark.slow
def test_the_weights_keep_it_and_prediction_follows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line: train, predict with the run, and otherwise by the user's own word."""
    data = _twelve_bit(tmp_path / "data")
    run, out = tmp_path / "run", tmp_path / "out"
    arguments = (
        "--model dsunet-lite --weights none --epochs 1 --batch-size 3 --sam-size 128 "
        "--device cpu --workers 0 --val-fraction 0.3 --intensity 0,4095"
    )
    assert main(["train", "--data", str(data), "--output", str(run), *arguments.split()]) == 0
    said = capsys.readouterr()
    assert "few of their levels" not in said.out + said.err
    assert read_metadata(run / "best.safetensors")["model"]["intensity"] == "0,4095"
    image = data / "images" / "0.tif"
    flags = ["--weights", str(run), "--device", "cpu"]
    assert main(["predict", str(image), *flags, "--output", str(out), "--save", "overlay"]) == 0
    assert "black to white: 0,4095" in capsys.readouterr().out
    shown = np.asarray(Image.open(out / "0.png").convert("L"))
    assert shown.max() > 150  # and not nearly black
    segmenter = dsunet.Segmenter(run, "cpu")
    assert segmenter.intensity == "0,4095"
    again = segmenter.recipe.build()
    assert again.intensity == "0,4095"
    by_file, by_array = segmenter(image), segmenter(tifffile.imread(image))
    assert np.array_equal(by_file.probability, by_array.probability)
    other = dsunet.Segmenter(run, "cpu", intensity="full")
    assert not np.array_equal(other(image).probability, by_file.probability)
    assert other.recipe.build().intensity == "full"
    # outputs of another intensity are not gone on with
    resumed = ["predict", str(image), *flags, "--output", str(out), "--save", "overlay", "--resume"]
    assert main(resumed) == 0
    assert main([*resumed, "--intensity", "percentile"]) == 1
    assert "intensity" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_alone(tmp_path: Path) -> None:
    data = DataConfig(_twelve_bit(tmp_path / "data"), workers=0)  # type: ignore[arg-type]
    config = model_config("dsunet-lite", sam_size=128, intensity="0,4095")
    recipe = TrainConfig(epochs=1, batch_size=3, device="cpu")
    dsunet.train(tmp_path / "run", config, data, recipe, weights=None)
    longer = replace(recipe, epochs=2)
    other = replace(config, intensity="percentile")
    with pytest.raises(dsunet.DsunetError, match="intensity"):
        dsunet.train(tmp_path / "run", other, data, longer, weights=None, resume=True)
    dsunet.train(tmp_path / "run", config, data, longer, weights=None, resume=True)


class Net(torch.nn.Module):
    """Gives the mean of its view as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        return view.mean(1, keepdim=True) * self.weight


def test_networks_of_ones_own_keep_it(tmp_path: Path) -> None:
    data = DataConfig(str(_twelve_bit(tmp_path / "data")), workers=0)
    recipe = TrainConfig(epochs=1, batch_size=3, device="cpu", protocol="raw")
    model = CustomSource("test:Net", Net, 64, intensity="0,4095")
    dsunet.train(tmp_path / "one", model, data, recipe)
    assert dsunet.Segmenter(Net, "cpu", weights=tmp_path / "one").intensity == "0,4095"
    # what starts from them sees pictures as they did
    again = CustomSource("test:Net", Net, 64)
    dsunet.train(tmp_path / "two", again, data, recipe, weights=tmp_path / "one")
    about = read_metadata(tmp_path / "two" / "last.safetensors")
    assert about["model"]["intensity"] == "0,4095"
    assert dsunet.Segmenter(Net, "cpu", intensity="percentile").intensity == "percentile"
    told = CustomSource(f"{__name__}:Net", Net, 64, intensity="0,4095")
    assert dsunet.Segmenter(told, "cpu").recipe.build().intensity == "0,4095"


@pytest.mark.parametrize("flag", ["0,", "5,1", "auto"])
def test_a_wrong_one_is_told_in_one_line(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "absent.tif", "--intensity", flag]) in (1, 2)
    assert main(["data", "check", "absent", "--intensity", flag]) in (1, 2)
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 2
    assert all("--intensity" in line for line in errors[1:])


def test_a_negative_number_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "ct.tif", (RAMP - 1000).astype(np.int16))
    for flags in (["--intensity", "-1000,400"], ["--intensity=-1000,400"]):
        out = str(tmp_path / f"{len(flags)}.png")
        assert main(["predict", str(tmp_path / "ct.tif"), *flags, "--output", out]) == 0
    with Image.open(tmp_path / "1.png") as written:
        assert written.size == (16, 16)
