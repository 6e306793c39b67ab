"""Feature maps: what is taken from the network, how it is projected, and the figures."""

from __future__ import annotations

import builtins
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsunet
from dsunet.cli import main
from dsunet.data import centre_crop, image_view
from dsunet.data.synthetic import synthetic_pair
from dsunet.errors import DsunetError, InputSizeError, MissingPackageError
from dsunet.network.encoders import without_adapters
from dsunet.visualize.cells import KINDS, plane_colours
from dsunet.visualize.extraction import (
    FeatureMap,
    FeatureMaps,
    FusedLevel,
    choose_depths,
    extract_features,
)
from dsunet.visualize.features import FIGURES, draw_features
from dsunet.visualize.figures import SCREEN_DPI, save_figure
from dsunet.visualize.projections import average_down, mean_map, principal_components, tsne_plane
from helpers import SHARED, nano

IMAGE, _ = synthetic_pair(0, 160)


def adapted(**overrides: object) -> dsunet.DSUNet:
    return nano(train_pyramid=False, adapter_channels=4, **overrides)


# -- extraction


def test_features_are_what_the_network_computes() -> None:
    model = adapted().eval()
    features = extract_features(model, IMAGE, crop=False)
    sam, dino = image_view(IMAGE, (128, 128))[None], image_view(IMAGE, (112, 112))[None]
    with torch.no_grad():
        levels = model.pyramid(sam)
        fused = model.fusion(levels, model.semantic(dino))
        tokens = model.semantic.trunk.forward_features(dino)[0, 1:]  # the first is the class token
    for got, level in zip(features.pyramid, levels, strict=True):
        np.testing.assert_allclose(got.values, level[0].numpy(), atol=1e-6)
    assert [f.name for f in features.pyramid] == ["level 1", "level 2", "level 3", "level 4"]
    assert [f.stride for f in features.pyramid] == [4, 8, 16, 32]
    (level,) = features.fusion
    assert level.before is features.pyramid[3]
    np.testing.assert_allclose(level.after.values, fused[3][0].numpy(), atol=1e-6)
    modulated = model.fusion.modulate[0](model.semantic(dino)[0], (4, 4))
    np.testing.assert_allclose(level.semantics.values, modulated[0].detach().numpy(), atol=1e-6)
    # before the final norm: with it, the last block is what the ViT gives
    last = features.semantic[-1]
    assert (last.name, last.stride) == ("block 4 of 4", 14)
    normed = model.semantic.trunk.norm(torch.from_numpy(last.values).permute(1, 2, 0))
    np.testing.assert_allclose(normed.detach().flatten(0, 1), tokens, atol=1e-5)
    assert features.image.size == (128, 128)


def test_the_model_is_left_as_it_was() -> None:
    model = adapted().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    extract_features(model, IMAGE)
    assert [part.training for part in model.modules()] == modes
    assert any(modes)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())


def test_without_adapters_is_a_hiera_that_never_had_any() -> None:
    model = adapted().eval()
    plain = nano(train_pyramid=False, adapter_channels=0).eval()
    own = model.pyramid.state_dict()
    plain.pyramid.load_state_dict(
        {k.replace(".block.", "."): v for k, v in own.items() if ".adapter." not in k}
    )
    expected = extract_features(plain, IMAGE)
    features = extract_features(model, IMAGE)
    for a, b, c in zip(
        features.pyramid_without_adapters, expected.pyramid, features.pyramid, strict=True
    ):
        np.testing.assert_array_equal(a.values, b.values)
        assert np.abs(a.values - c.values).max() > 1e-4
    assert expected.pyramid_without_adapters == ()
    by_old_names = (features.hiera, features.hiera_without_adapters, features.dinov2)
    assert by_old_names == (
        features.pyramid,
        features.pyramid_without_adapters,
        features.semantic,
    )


def test_adapters_come_back_after_an_exception() -> None:
    pyramid = adapted().eval().pyramid
    view = image_view(IMAGE, (128, 128))[None]
    with torch.no_grad():
        before = pyramid(view)[3]
        with without_adapters(pyramid):
            assert not torch.equal(pyramid(view)[3], before)
        with pytest.raises(RuntimeError, match="3 channels"), without_adapters(pyramid):
            pyramid(view[:, :2])
        assert torch.equal(pyramid(view)[3], before)


@pytest.mark.parametrize(
    ("overrides", "blocks", "fused"),
    [
        ({"injection": "none"}, 0, []),
        ({"injection": "none", "decoder": "unet"}, 0, []),
        ({"injection": "hierarchical"}, 4, [1, 2, 3, 4]),
        ({"injection": "broadcast", "train_semantic": False}, 4, [1, 2, 3, 4]),
    ],
)
def test_every_kind_of_model(overrides: dict[str, object], blocks: int, fused: list[int]) -> None:
    features = extract_features(nano(**overrides), IMAGE)
    assert len(features.semantic) == blocks
    assert [level.after.name for level in features.fusion] == [f"level {i}" for i in fused]
    for level in features.fusion:
        shapes = {f.values.shape for f in (level.before, level.semantics, level.after)}
        assert len(shapes) == 1
    figures = draw_features(features, ["mean"])
    assert set(figures) == ({"hiera", "dinov2", "fusion"} if blocks else {"hiera"})


def test_depths() -> None:
    assert choose_depths(24) == (2, 8, 18, 24)
    assert choose_depths(12) == (1, 4, 9, 12)
    assert choose_depths(40) == (3, 13, 30, 40)
    for blocks in range(1, 60):
        depths = choose_depths(blocks)
        assert depths[-1] == blocks
        assert all(a < b for a, b in itertools.pairwise((0, *depths)))
    model = nano()
    two = extract_features(model, IMAGE, depths=[2, 3]).semantic
    assert [f.name for f in two] == ["block 2 of 4", "block 3 of 4"]
    for wrong in ([], [0, 1], [2, 5], [2, 2], [3, 1]):
        with pytest.raises(ValueError, match="needs block numbers from 1 to 4, rising"):
            extract_features(model, IMAGE, depths=wrong)
    with pytest.raises(ValueError, match="no DINOv2"):
        extract_features(nano(injection="none"), IMAGE, depths=[1])


def test_sizes() -> None:
    model = nano()
    features = extract_features(model, IMAGE, sam_size=(160, 128), dino_size=(70, 56))
    assert features.image.size == (128, 160)
    assert features.pyramid[0].values.shape == (32, 40, 32)
    assert features.semantic[0].values.shape == (128, 5, 4)
    with pytest.raises(InputSizeError, match="nearest valid size"):
        extract_features(model, IMAGE, sam_size=100)
    with pytest.raises(InputSizeError, match="nearest valid size"):
        extract_features(model, IMAGE, dino_size=100)


def test_the_crop_keeps_the_middle() -> None:
    image = Image.new("RGB", (30, 10), "red")
    image.paste("blue", (10, 0, 20, 10))
    assert centre_crop(image, (64, 64)).size == (10, 10)
    assert centre_crop(image, (64, 64)).getcolors() == [(100, (0, 0, 255))]
    assert centre_crop(image, (64, 128)).size == (20, 10)
    assert centre_crop(image.rotate(90, expand=True), (64, 64)).size == (10, 10)
    whole = extract_features(nano(), image, crop=False).image
    assert whole.getpixel((0, 64)) == (255, 0, 0)
    assert extract_features(nano(), image).image.getcolors() == [(128 * 128, (0, 0, 255))]


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 700)])
def test_odd_images(size: tuple[int, int]) -> None:
    features = extract_features(nano(), Image.new("RGB", size, "grey"))
    assert features.image.size == (128, 128)
    assert set(draw_features(features, ["mean", "pca"])) == {"hiera", "dinov2", "fusion"}


def test_broken_weights_are_named() -> None:
    model = nano()
    with torch.no_grad():
        model.pyramid.trunk.blocks[-1].mlp.fc2.bias.fill_(float("nan"))
    with pytest.raises(DsunetError, match="level 4 hold values that are no finite numbers"):
        extract_features(model, IMAGE)


# -- projections


def test_mean_by_hand() -> None:
    features = np.array([[[1, 2]], [[3, 6]]], np.float32)
    np.testing.assert_array_equal(mean_map(features), [[2, 4]])


def test_components_by_hand() -> None:
    """Points (±2, ±1) on two axes that are turned by 45°: variances 4 and 1."""
    along, across = np.array([1, 1]) / np.sqrt(2), np.array([1, -1]) / np.sqrt(2)
    points = np.array([-2 * along - across, 2 * along + across, 2 * along - across])
    points = np.vstack([points, -2 * along + across]) + 7
    features = points.T.reshape(2, 1, 4).astype(np.float32)
    components = principal_components(features, 3)
    # the middle half, the second and third position, is high: + + on the first component
    np.testing.assert_allclose(components.maps[0], [[-2, 2, 2, -2]], atol=1e-5)
    np.testing.assert_allclose(np.abs(components.maps[1]), [[1, 1, 1, 1]], atol=1e-5)
    np.testing.assert_array_equal(components.maps[2], 0)
    np.testing.assert_allclose(components.explained, [0.8, 0.2, 0], atol=1e-6)
    mirrored = principal_components(-features, 1)
    np.testing.assert_allclose(mirrored.maps, components.maps[:1], atol=1e-5)


def test_features_that_do_not_vary() -> None:
    flat = np.full((5, 3, 4), 2.5, np.float32)
    components = principal_components(flat)
    np.testing.assert_array_equal(components.maps, np.zeros((3, 3, 4)))
    assert components.explained == (0, 0, 0)
    np.testing.assert_array_equal(tsne_plane(flat), np.zeros((3, 4, 2)))
    assert np.isfinite(plane_colours(tsne_plane(flat))).all()


def test_averaging_down_by_hand() -> None:
    grid = np.arange(15, dtype=np.float32).reshape(1, 3, 5)
    np.testing.assert_array_equal(average_down(grid, 15), grid)
    # squares of 2×2, at the edges 2×1 and 1×2
    np.testing.assert_array_equal(average_down(grid, 14), [[[3, 5, 6.5], [10.5, 12.5, 14]]])
    np.testing.assert_array_equal(average_down(grid, 1), [[[7]]])


def test_tsne_parts_two_groups_and_repeats_itself() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 12, 12)).astype(np.float32)
    features[:, 4:8, 4:8] += 20
    plane = tsne_plane(features)
    np.testing.assert_array_equal(plane, tsne_plane(features))
    assert plane.shape == (12, 12, 2)
    group = np.zeros((12, 12), bool)
    group[4:8, 4:8] = True
    # the middle is high on the first component, and the plane is turned to lie like it
    assert plane[group, 0].min() > plane[~group, 0].max()
    assert tsne_plane(features, positions=40).shape == (6, 6, 2)


@pytest.mark.parametrize("shape", [(4, 1, 1), (4, 1, 2), (1, 2, 2), (3, 1, 5)])
def test_tsne_of_few_positions(shape: tuple[int, int, int]) -> None:
    plane = tsne_plane(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    assert plane.shape == (*shape[1:], 2)
    assert np.isfinite(plane).all()


def test_colours_of_the_planes_corners() -> None:
    plane = np.array([[[0, 0], [1, 0]], [[0, 1], [1, 1]]], np.float32)
    colours = np.round(plane_colours(np.repeat(np.repeat(plane, 60, 0), 60, 1)) * 255)
    assert colours[0, 0].tolist() == [24, 36, 96]  # dark blue
    assert colours[0, -1].tolist() == [186, 216, 255]  # light blue
    assert colours[-1, 0].tolist() == [104, 52, 0]  # brown
    assert colours[-1, -1].tolist() == [255, 226, 120]  # light yellow


# -- figures


def made_up(
    levels: int = 4, adapters: bool = True, fused: int = 1, size: tuple[int, int] = (64, 64)
) -> FeatureMaps:
    """Features with the longest labels that occur."""
    rng = np.random.default_rng(0)

    def one(name: str, stride: int, shape: tuple[int, int, int]) -> FeatureMap:
        return FeatureMap(name, stride, rng.normal(size=shape).astype(np.float32))

    pyramid = tuple(one(f"level {i + 1}", 32, (1152, 3, 3)) for i in range(levels))
    blocks = tuple(one(f"block {i + 20} of 24", 14, (1024, 12, 13)) for i in range(levels))
    fusion = tuple(FusedLevel(level, level, level) for level in pyramid[-fused:])
    return FeatureMaps(Image.new("RGB", size), pyramid, pyramid if adapters else (), blocks, fusion)


@pytest.mark.parametrize(
    ("features", "kinds"),
    [
        (made_up(), ["mean", "pca", "tsne"]),
        (made_up(levels=2, adapters=False, fused=2), list(KINDS)),
        (made_up(levels=2, fused=2), ["tsne"]),
        (made_up(levels=1, adapters=False), ["mean"]),
        (made_up(levels=1), list(KINDS)),
        (made_up(levels=2, size=(64, 192), fused=2), ["pca"]),
        (made_up(levels=2, size=(192, 64)), ["scatter"]),
    ],
    ids=["paper", "all", "one-column", "one-cell", "one-row", "tall", "wide"],
)
def test_nothing_is_clipped_and_nothing_overlaps(features: FeatureMaps, kinds: list[str]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    model = "sam2unet-base_plus, random weights"
    for name, figure in draw_features(features, kinds, model, positions=9).items():
        renderer = FigureCanvasAgg(figure).get_renderer()
        texts = [
            (t.get_text(), t.get_window_extent(renderer)) for t in figure.texts if t.get_text()
        ]
        for text, box in texts:
            assert box.x0 >= 0, (name, text)
            assert box.y0 >= 0, (name, text)
            assert box.x1 <= figure.bbox.x1, (name, text)
            assert box.y1 <= figure.bbox.y1, (name, text)
        for (a, box), (b, other) in itertools.combinations(texts, 2):
            assert not box.overlaps(other), (name, a, b)
        cells = [axes.get_window_extent(renderer) for axes in figure.axes]
        for (a, box), cell in itertools.product(texts, cells):
            assert not box.overlaps(cell), (name, a)
        for cell, other in itertools.combinations(cells, 2):
            assert not cell.overlaps(other), name


def test_every_cell_shows_its_map() -> None:
    features = made_up(adapters=False)
    figure = draw_features(features, ["mean", "rgb"])["hiera"]
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    mean = next(p for p in pictures if p.shape == (3, 3))
    values = features.pyramid[0].values.mean(0)
    assert mean.min() == 0
    assert mean.max() == 1
    assert np.unravel_index(mean.argmax(), (3, 3)) == np.unravel_index(values.argmax(), (3, 3))
    assert sum(p.shape == (3, 3) for p in pictures) == 4
    assert sum(p.shape == (3, 3, 3) for p in pictures) == 4


def test_files_of_figures(tmp_path: Path) -> None:
    figure = draw_features(made_up(levels=1), ["mean"])["dinov2"]
    save_figure(figure, tmp_path / "deep" / "a", ["png"])
    save_figure(figure, tmp_path / "a", ["pdf"])
    save_figure(figure, tmp_path / "b", ["pdf"])
    size = tuple(round(SCREEN_DPI * inches) for inches in figure.get_size_inches())
    with Image.open(tmp_path / "deep" / "a.png") as image:
        assert image.size == size
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_sklearn(name: str, *rest: object) -> object:
        if name.startswith("sklearn"):
            raise ImportError(f"No module named {name!r}", name="sklearn")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_sklearn)
    for function in (principal_components, tsne_plane):
        with pytest.raises(MissingPackageError, match=r"scikit-learn; pip install 'dsunet\["):
            function(np.zeros((2, 2, 2), np.float32))
    with pytest.raises(MissingPackageError, match="need the packages scikit-learn"):
        draw_features(made_up(), ["mean"])


# -- command line


def run(*arguments: object) -> int:
    return main(["features", *map(str, arguments), "--device", "cpu", "--maps", "mean"])


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_one_broken_image_loses_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output, weights = tmp_path / "in", tmp_path / "out", tmp_path / "w.safetensors"
    dsunet.save(nano(injection="none"), weights)
    (folder / "deep").mkdir(parents=True)
    IMAGE.convert("L").save(folder / "grey.png")
    (folder / "bad.png").write_bytes(b"bad")
    Image.new("RGB", (2, 300)).save(folder / "deep" / "thin.png")
    assert run(folder, "--weights", weights, "--output", output) == 1
    shown = capsys.readouterr()
    assert "bad.png: not a readable image" in shown.err
    assert "figures of 2 of 3 images written" in shown.out
    assert "has no adapters" in shown.out
    assert "has no DINOv2" in shown.out
    assert files_in(output) == {
        f"hiera/{image}.{ending}" for image in ("grey", "deep/thin") for ending in ("png", "pdf")
    }
    assert run(folder, "--weights", weights, "--output", output) == 1
    assert "is there already; choose another --output" in capsys.readouterr().err
    (output / "hiera" / "grey.png").write_bytes(b"old")
    good = [folder / "grey.png", "--weights", weights, "--formats", "png", "--overwrite"]
    assert run(*good, "--output", output) == 0
    with Image.open(output / "hiera" / "grey.png") as image:
        assert image.width > 500


def test_a_preset_with_random_weights_is_the_same_every_time(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "a.png")
    preset = ["--model", "dsunet-nano", "--sam-size", 128, "--dino-size", 56, "--formats", "png"]
    for name in "bc":
        assert run(tmp_path / "a.png", *preset, "--output", tmp_path / name) == 0
        torch.rand(3)
    assert files_in(tmp_path / "b") == {f"{figure}/a.png" for figure in FIGURES}
    one, two = ((tmp_path / name / "fusion" / "a.png").read_bytes() for name in "bc")
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--output o", "no model is given: name a weights file"),
        ("--output o --weights none", "no model is given"),
        ("--output o --model big", "model 'big' is unknown"),
        ("--output o --model dsunet-nano --maps mean,median", "maps is 'mean,median'"),
        ("--output o --model dsunet-nano --formats gif", "--formats is 'gif'"),
        ("--output o --model dsunet-nano --depths two", "--depths is 'two'"),
        ("--output o --model dsunet-nano --depths 2,9", "depths is '2,9', but needs block"),
        ("--output o --model dsunet-nano --sam-size 100", "sides need to be multiples of 32"),
        ("--output o --model dsunet-nano --sam-size 0", "--sam-size is 0, but needs at least 1"),
        ("--output o --model dsunet-nano --tsne-positions 0", "--tsne-positions is 0"),
        ("--output o --weights absent", "there is no weights file"),
        ("--output o --weights ../custom.safetensors", "a file of mynet:tiny; features are of"),
        ("--output o --model mynet:tiny", "mynet:tiny is a network of your own; features are of"),
    ],
)
def test_bad_usage_is_one_clear_line(
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    IMAGE.save("a.png")
    custom = dsunet.CustomModel(torch.nn.Conv2d(3, 1, 1), 64, name="mynet:tiny")
    dsunet.save(custom, tmp_path / "custom.safetensors")
    assert main(["features", "a.png", "--device", "cpu", *arguments.split()]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""
    assert [p.name for p in folder.iterdir()] == ["a.png"]


def test_a_real_image() -> None:
    folder = SHARED / "data" / "duts-te-200" / "images"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    with Image.open(sorted(folder.iterdir())[0]) as image:
        features = extract_features(nano(), image.convert("RGB"))
    level = features.pyramid[2].values
    components = principal_components(level)
    assert 0 < components.explained[0] <= 1
    assert components.explained[0] >= components.explained[1] >= components.explained[2]
    np.testing.assert_allclose(components.maps.mean((1, 2)), 0, atol=1e-4)
    assert np.isfinite(tsne_plane(level)).all()


def test_later_states_are_turned_like_earlier_ones() -> None:
    """Features turned upside down look the same, and so does their t-SNE."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:9, 0:9] / 9
    before = np.stack([x, y, x * y, x - y]) + 0.01 * rng.normal(size=(4, 9, 9))
    maps = principal_components(before).maps
    opposite = principal_components(before, like=-maps).maps
    assert np.allclose(opposite, -maps, atol=1e-5)
    assert np.array_equal(principal_components(before, like=maps[:, :4]).maps, maps)
    plane = tsne_plane(before)
    mirrored = tsne_plane(before, like=plane * [1, -1])
    assert np.allclose(mirrored, plane * [1, -1], atol=1e-3 * np.abs(plane).max())
