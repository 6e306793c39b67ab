"""Pairing, decoding, views, flips and order."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsunet.config import IMAGENET_MEAN, IMAGENET_STD
from dsunet.data import (
    EpochSampler,
    Pair,
    PairDataset,
    collate,
    find_pairs,
    image_view,
    make_views,
    mask_view,
    read_image,
    read_mask,
    select_pairs,
    split_pairs,
)
from dsunet.data.augment import vary
from dsunet.data.images import decode, read_header, read_map
from dsunet.data.pairs import read_names, read_pair
from dsunet.data.sources import TarMember
from dsunet.data.synthetic import synthetic_pair, write_synthetic
from dsunet.errors import DataError, ImageError, OutputError
from helpers import SHARED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "set", 6, 48, seed=3)
    return tmp_path / "set"


def tar_of(folder: Path, archive: Path, prefix: str = "") -> Path:
    with tarfile.open(archive, "w") as tar:
        for file in sorted(folder.rglob("*.*")):
            tar.add(file, prefix + str(file.relative_to(folder)))
    return archive


class TestPairs:
    def test_folder(self, folder: Path) -> None:
        pairs = find_pairs(folder)
        assert [pair.name for pair in pairs] == sorted(pair.name for pair in pairs)
        assert len(pairs) == 6
        assert pairs == find_pairs(images=folder / "images", masks=folder / "masks")

    @pytest.mark.parametrize("prefix", ["", "./", "top/"])
    def test_tar_holds_the_same_pixels(self, folder: Path, tmp_path: Path, prefix: str) -> None:
        pairs, packed = find_pairs(folder), find_pairs(tar_of(folder, tmp_path / "a.tar", prefix))
        assert [p.name for p in packed] == [p.name for p in pairs]
        for ours, theirs in zip(packed, pairs, strict=True):
            assert isinstance(ours.image, TarMember)
            assert read_image(ours.image).tobytes() == read_image(theirs.image).tobytes()
            assert read_mask(ours.mask).tobytes() == read_mask(theirs.mask).tobytes()

    def test_hidden_and_foreign_files_are_left_out(self, folder: Path) -> None:
        (folder / "images" / "._salient_00000.jpg").write_bytes(b"junk")
        (folder / "images" / "notes.txt").write_text("hello")
        assert len(find_pairs(folder)) == 6

    def test_orphans_are_listed(self, folder: Path) -> None:
        (folder / "masks" / "salient_00000.png").unlink()
        (folder / "images" / "camouflaged_00001.jpg").unlink()
        with pytest.raises(
            DataError,
            match=r"1 images without a mask \('salient_00000\.jpg'\), 1 masks without an image "
            r"\('camouflaged_00001\.png'\)",
        ):
            find_pairs(folder)

    def test_a_stem_twice(self, folder: Path) -> None:
        Image.new("RGB", (4, 4)).save(folder / "images" / "salient_00000.png")
        with pytest.raises(DataError, match=r"twice \(.*salient_00000\.jpg and .*_00000\.png"):
            find_pairs(folder)

    def test_missing_and_empty_places(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="there is no folder .*images"):
            find_pairs(tmp_path)
        (tmp_path / "images").mkdir()
        with pytest.raises(DataError, match="holds no images; known endings"):
            find_pairs(tmp_path)
        with pytest.raises(DataError, match="there is no archive"):
            find_pairs(tmp_path / "absent.tar")
        (tmp_path / "bad.tar").write_bytes(b"no tar" * 200)
        with pytest.raises(DataError, match="no uncompressed tar archive"):
            find_pairs(tmp_path / "bad.tar")
        tarfile.open(tmp_path / "empty.tar", "w").close()
        with pytest.raises(DataError, match="holds no images under images/"):
            find_pairs(tmp_path / "empty.tar")

    @pytest.mark.parametrize("kind", ["link", "hard link", "device", "pipe", "outside", "absolute"])
    def test_unsafe_tar_members_are_refused(self, tmp_path: Path, kind: str) -> None:
        with tarfile.open(tmp_path / "bad.tar", "w") as tar:
            member = tarfile.TarInfo("images/a.png")
            types = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE}
            types |= {"device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
            member.type, member.linkname = types.get(kind, tarfile.REGTYPE), "/etc/passwd"
            names = {"outside": "../images/a.png", "absolute": "/images/a.png"}
            member.name = names.get(kind, member.name)
            tar.addfile(member, io.BytesIO())
        with pytest.raises(DataError, match="unsafe"):
            find_pairs(tmp_path / "bad.tar")

    def test_selection(self, folder: Path, tmp_path: Path) -> None:
        pairs = find_pairs(folder)
        names = tmp_path / "names.txt"
        names.write_text("salient_00002\n\n  salient_00000 \n")
        chosen = select_pairs(pairs, read_names(names), "names.txt")
        assert [pair.name for pair in chosen] == ["salient_00000", "salient_00002"]
        with pytest.raises(DataError, match=r"names\.txt names 1 unknown pairs \(nobody\)"):
            select_pairs(pairs, ["nobody"], "names.txt")
        with pytest.raises(DataError, match="cannot be read"):
            read_names(tmp_path / "absent.txt")
        names.write_bytes(b"PNG\0")
        with pytest.raises(DataError, match="is no text"):
            read_names(names)


NAMES = st.lists(st.text("abcdef0123", min_size=1), min_size=2, max_size=40, unique=True)


@settings(deadline=None)
@given(names=NAMES, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_split_is_a_partition_of_any_order(names: list[str], fraction: float, seed: int) -> None:
    pairs = [Pair(name, Path(name), Path(name)) for name in names]
    count = max(1, round(len(pairs) * fraction))
    if count == len(pairs):
        with pytest.raises(DataError, match="cannot be split"):
            split_pairs(pairs, fraction, seed)
        return
    training, held_out = split_pairs(pairs, fraction, seed)
    assert len(held_out) == count
    assert sorted(p.name for p in training + held_out) == sorted(names)
    assert split_pairs(pairs[::-1], fraction, seed) == (training, held_out)


class TestImages:
    def check(self, image: Image.Image, path: Path, expected: tuple[int, int, int]) -> None:
        image.save(path)
        result = read_image(path)
        assert result.mode == "RGB"
        np.testing.assert_allclose(np.asarray(result)[2, 2], expected, atol=1)

    def test_modes(self, tmp_path: Path) -> None:
        grey16 = Image.fromarray(np.full((5, 5), 0x8080, np.uint16))
        cases = {
            "rgb.png": (Image.new("RGB", (5, 5), (10, 20, 30)), (10, 20, 30)),
            "grey.png": (Image.new("L", (5, 5), 77), (77, 77, 77)),
            "one.png": (Image.new("1", (5, 5), 1), (255, 255, 255)),
            "rgba.png": (Image.new("RGBA", (5, 5), (200, 0, 0, 0)), (255, 255, 255)),
            "half.png": (Image.new("RGBA", (5, 5), (0, 0, 0, 128)), (127, 127, 127)),
            "la.png": (Image.new("LA", (5, 5), (0, 0)), (255, 255, 255)),
            "palette.png": (Image.new("RGB", (5, 5), (1, 2, 3)).quantize(4), (1, 2, 3)),
            "cmyk.tif": (Image.new("CMYK", (5, 5), (0, 0, 0, 0)), (255, 255, 255)),
            "grey16.png": (grey16, (128, 128, 128)),
            "grey16.tif": (grey16, (128, 128, 128)),
        }
        for name, (image, expected) in cases.items():
            self.check(image, tmp_path / name, expected)

    def test_exif_orientation(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (6, 4))
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90° to see it upright
        image.save(tmp_path / "turned.jpg", exif=exif)
        assert read_image(tmp_path / "turned.jpg").size == (4, 6)

    def test_broken_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
        data = (tmp_path / "whole.png").read_bytes()
        for name, content in (("cut", data[:900]), ("empty", b""), ("text", b"hello")):
            (tmp_path / f"{name}.png").write_bytes(content)
            with pytest.raises(ImageError, match=rf"{name}\.png: not a readable image"):
                read_image(tmp_path / f"{name}.png")
        with pytest.raises(ImageError, match=r"cannot be read \(no such file"):
            read_image(tmp_path / "absent.png")
        for limit in (1000, 3000):  # Pillow itself refuses the first, and warns of the second
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
            with pytest.raises(ImageError, match=f"more than the {limit:,} that are decoded"):
                read_image(tmp_path / "whole.png")

    def test_masks(self, tmp_path: Path) -> None:
        values = np.zeros((4, 4), np.uint8)
        values[1:3, 1:3] = 1
        palette = Image.frombytes("P", (4, 4), (values * 2).tobytes())
        palette.putpalette([0, 0, 0, 9, 9, 9, 128, 0, 0] + [0] * 759)
        cases = {
            "zero-one.png": Image.fromarray(values),
            "full.png": Image.fromarray(values * 255),
            "bit.png": Image.fromarray(values * 255).convert("1"),
            "rgb.png": Image.fromarray(values * 255).convert("RGB"),
            "palette.png": palette,
            "grey16.png": Image.fromarray(values.astype(np.uint16) * 65535),
            "one16.png": Image.fromarray(values.astype(np.uint16)),
        }
        for name, image in cases.items():
            image.save(tmp_path / name)
            np.testing.assert_array_equal(
                np.asarray(read_mask(tmp_path / name)), values * 255, name
            )
        Image.fromarray(values * 190).save(tmp_path / "soft.png")
        np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "soft.png")), values * 190)
        np.testing.assert_array_equal(read_map(tmp_path / "zero-one.png"), values)
        Image.fromarray(values * 2).save(tmp_path / "classes.png")
        with pytest.raises(ImageError, match="the largest value of this mask is 2; needed are"):
            read_mask(tmp_path / "classes.png")

    def test_black_and_white_palette(self, tmp_path: Path) -> None:
        """Which index is white does not matter where the palette holds greys alone."""
        indices = np.ones((4, 4), np.uint8)
        indices[1:3, 1:3] = 0
        image = Image.frombytes("P", (4, 4), indices.tobytes())
        image.putpalette([255, 255, 255, 0, 0, 0])
        image.save(tmp_path / "bw.png")
        mask = np.asarray(read_mask(tmp_path / "bw.png"))
        np.testing.assert_array_equal(mask, np.where(indices == 0, 255, 0))

    def test_a_colour_palette_means_the_same_whichever_indices_are_used(
        self, tmp_path: Path
    ) -> None:
        """In the palette of Pascal VOC, class 7 is grey by chance."""
        palette = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128, 0, 128, 128]
        palette += [128, 128, 128]
        for index in (1, 7):
            mask = np.zeros((4, 4), np.uint8)
            mask[1:3] = index
            image = Image.frombytes("P", (4, 4), mask.tobytes())
            image.putpalette(palette)
            image.save(tmp_path / "a.png")
            expected = np.where(mask > 0, 255, 0)
            np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "a.png")), expected)

    def test_a_black_shape_on_nothing_is_a_mask(self, tmp_path: Path) -> None:
        shape = np.zeros((4, 4, 4), np.uint8)
        shape[1:3, 1:3, 3] = 255
        Image.fromarray(shape).save(tmp_path / "a.png")
        np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "a.png")), shape[..., 3])
        shape[..., 3] = 255
        Image.fromarray(shape).save(tmp_path / "a.png")
        assert not np.asarray(read_mask(tmp_path / "a.png")).any()

    def test_tiffs_that_pillow_reads_wrongly(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
        deep = values.astype(np.uint16) * 257
        grey = np.repeat(values[..., :1], 3, axis=2)
        cases = [
            (np.moveaxis(deep, 2, 0), "rgb", "separate", values),
            (np.moveaxis(deep, 2, 0), "minisblack", "separate", values),
            (np.moveaxis(values, 2, 0), "minisblack", "separate", values),
            (np.moveaxis(values, 2, 0), "rgb", "separate", values),
            (deep, "rgb", "contig", values),
            (65535 - deep[..., 0], "miniswhite", None, grey),
            (255 - values[..., 0], "miniswhite", None, grey),
        ]
        for array, photometric, planar, expected in cases:
            tifffile.imwrite(
                tmp_path / "a.tif", array, photometric=photometric, planarconfig=planar
            )
            seen = np.asarray(read_image(tmp_path / "a.tif"))
            np.testing.assert_array_equal(seen, expected, f"{photometric} {planar} {array.dtype}")

    def test_a_tiff_of_one_huge_tile_is_refused(self, tmp_path: Path) -> None:
        """Its 64 pixels a side lie in a tile of a thousand megapixels, all zeros."""
        small = np.zeros((3, 64, 64), np.uint8)
        tifffile.imwrite(
            tmp_path / "a.tif",
            small,
            photometric="minisblack",
            planarconfig="separate",
            tile=(2048, 2048),
            compression="zlib",
        )
        with pytest.raises(ImageError, match="compressed or tiled TIFF of this kind"):
            read_image(tmp_path / "a.tif")

    def test_maps_of_other_types(self, tmp_path: Path) -> None:
        ramp = np.linspace(0, 1, 5, dtype=np.float32)[None]
        Image.fromarray(ramp).save(tmp_path / "a.tif")
        np.testing.assert_array_equal(read_map(tmp_path / "a.tif"), [[0, 64, 128, 191, 255]])
        Image.fromarray(ramp * 300).save(tmp_path / "a.tif")
        with pytest.raises(ImageError, match=r"a\.tif: floating-point values need to be in 0\.\.1"):
            read_map(tmp_path / "a.tif")
        Image.fromarray((ramp * 65535).astype(np.uint16)).save(tmp_path / "a.png")
        np.testing.assert_allclose(read_map(tmp_path / "a.png"), [[0, 64, 128, 191, 255]], atol=1)
        Image.new("LAB", (4, 4)).save(tmp_path / "lab.tif")
        with pytest.raises(ImageError, match=r"lab\.tif: its pixels cannot be used"):
            read_map(tmp_path / "lab.tif")

    def test_damaged_pixels_are_an_error(self, tmp_path: Path) -> None:
        """Not cut off, but changed in the middle: the checksums of PNG tell."""
        Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
        data = bytearray((tmp_path / "a.png").read_bytes())
        data[len(data) // 2] ^= 255
        (tmp_path / "a.png").write_bytes(data)
        for read in (read_image, read_mask, read_map):
            with pytest.raises(ImageError, match=r"a\.png: not a readable image"):
                read(tmp_path / "a.png")

    def test_headers_have_limits_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.new("L", (60, 50)).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
        with pytest.raises(ImageError, match="more than the 2,000 that are decoded"):
            read_header(tmp_path / "a.png")

    def test_floating_point_images_are_refused(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "f.tif")
        with pytest.raises(ImageError, match=r"f\.tif: .*floating-point"):
            read_image(tmp_path / "f.tif")

    @pytest.mark.parametrize("content", [b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
    def test_broken_exif_counts_as_none(self, tmp_path: Path, content: bytes) -> None:
        Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=content)
        assert read_image(tmp_path / "a.jpg").size == (6, 4)

    def test_size_from_the_header(self, folder: Path, tmp_path: Path) -> None:
        for pair in find_pairs(folder) + find_pairs(tar_of(folder, tmp_path / "a.tar")):
            assert read_header(pair.image).seen_size() == read_image(pair.image).size
        exif = Image.Exif()
        exif[0x0112] = 6
        for ending in ("jpg", "tif", "png", "webp"):
            path = tmp_path / f"turned.{ending}"
            Image.new("RGB", (6, 4)).save(path, exif=exif)
            for header in (read_header(path), decode(path)):
                assert header.size == (6, 4), ending
                assert header.seen_size() == (4, 6), ending
                assert header.orientation == 6, ending


class TestViews:
    def test_normalisation_by_hand(self) -> None:
        view = image_view(Image.new("RGB", (10, 10), (255, 0, 51)), (4, 6))
        assert view.shape == (3, 4, 6)
        for channel, value in enumerate((1.0, 0.0, 0.2)):
            expected = (value - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
            torch.testing.assert_close(view[channel], torch.full((4, 6), expected))

    def test_shrinking_averages(self) -> None:
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, ::2] = 255
        view = image_view(Image.fromarray(stripes), (8, 8))
        grey = (0.5 - IMAGENET_MEAN[0]) / IMAGENET_STD[0]
        np.testing.assert_allclose(view[0].numpy(), grey, atol=0.1)  # not black or white: ±2

    def test_both_views_come_from_the_original(self) -> None:
        image, _ = synthetic_pair(0, 100)
        views = make_views(image, (64, 96), (28, 42))
        assert views.size == (100, 100)
        assert torch.equal(views.sam, image_view(image, (64, 96)))
        assert torch.equal(views.dino, image_view(image, (28, 42)))
        assert make_views(image, (64, 64), None).dino is None

    def test_masks_get_soft_edges(self) -> None:
        mask = np.zeros((50, 50), np.uint8)
        mask[10:30, 10:30] = 255
        view = mask_view(Image.fromarray(mask), (32, 32))
        assert view.shape == (1, 32, 32)
        assert view.min() == 0
        assert view.max() == 1
        assert ((view > 0) & (view < 1)).any()

    def test_resizing_is_pillows(self) -> None:
        image, mask = synthetic_pair(1, 90)
        expected = np.asarray(image.resize((40, 32), Image.Resampling.BILINEAR)) / np.float32(255)
        view = image_view(image, (32, 40))
        back = view * torch.tensor(IMAGENET_STD).view(3, 1, 1)
        back = back + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
        np.testing.assert_allclose(back.permute(1, 2, 0).numpy(), expected, atol=1e-6)
        expected = np.asarray(mask.resize((40, 32), Image.Resampling.BICUBIC)) / np.float32(255)
        np.testing.assert_allclose(mask_view(mask, (32, 40))[0].numpy(), expected, atol=1e-7)


class TestDataset:
    def dataset(self, folder: Path, **options: object) -> PairDataset:
        return PairDataset(find_pairs(folder), (64, 64), (28, 28), **options)

    def test_items(self, folder: Path) -> None:
        sample = self.dataset(folder, keep_truth=True)[0, 1]
        assert sample.sam.shape == (3, 64, 64)
        assert sample.dino.shape == (3, 28, 28)
        assert sample.mask.shape == (1, 64, 64)
        assert sample.truth.shape == (48, 48)
        batch = collate([sample, self.dataset(folder)[0, 2]])
        assert batch.sam.shape == (2, 3, 64, 64)
        assert batch.truths[1] is None

    @pytest.mark.parametrize(
        ("flips", "axes"), [((1, 0), [-1]), ((0, 1), [-2]), ((1, 1), [-1, -2])]
    )
    def test_flips_are_the_same_for_views_and_mask(
        self, folder: Path, flips: tuple[float, float], axes: list[int]
    ) -> None:
        plain, flipped = self.dataset(folder)[0, 0], self.dataset(folder, flips=flips)[0, 0]
        for name in ("sam", "dino", "mask"):
            assert torch.equal(getattr(flipped, name), getattr(plain, name).flip(axes)), name

    def test_flips_depend_on_seed_epoch_and_position_alone(self, folder: Path) -> None:
        dataset = self.dataset(folder, flips=(0.5, 0.5), seed=1)
        again = self.dataset(folder, flips=(0.5, 0.5), seed=1)
        seen = set()
        for epoch in range(12):
            sample = dataset[epoch, 3]
            assert torch.equal(sample.sam, again[epoch, 3].sam)
            seen.add(sample.sam.numpy().tobytes())
        assert len(seen) == 4  # all combinations of two flips turn up

    def test_mask_of_another_size(self, folder: Path) -> None:
        Image.new("L", (10, 20)).save(folder / "masks" / "salient_00000.png")
        position = [p.name for p in find_pairs(folder)].index("salient_00000")
        with pytest.raises(DataError, match=r"48×48 px, but its mask .* is 10×20; masks need"):
            _ = self.dataset(folder)[0, position]


class TestSampler:
    def test_every_epoch_has_its_own_order(self) -> None:
        sampler = EpochSampler(10, seed=5)
        first = list(sampler)
        sampler.set_epoch(1)
        second = list(sampler)
        assert sorted(i for _, i in first) == sorted(i for _, i in second) == list(range(10))
        assert [i for _, i in first] != [i for _, i in second]
        assert {epoch for epoch, _ in second} == {1}
        sampler.set_epoch(0)
        assert list(sampler) == first
        assert list(EpochSampler(10, seed=6)) != first

    def test_ranks_share_the_data(self) -> None:
        parts = [list(EpochSampler(10, rank=rank, world=4)) for rank in range(4)]
        assert {len(part) for part in parts} == {3}
        assert {i for part in parts for _, i in part} == set(range(10))

    def test_without_shuffling(self) -> None:
        assert list(EpochSampler(3, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]


class TestSynthetic:
    def test_seeded(self) -> None:
        image, mask = synthetic_pair(4, 64, seed=1)
        assert image.tobytes() == synthetic_pair(4, 64, seed=1)[0].tobytes()
        assert image.tobytes() != synthetic_pair(4, 64, seed=2)[0].tobytes()
        assert image.tobytes() != synthetic_pair(6, 64, seed=1)[0].tobytes()
        assert set(np.unique(mask)) == {0, 255}

    def test_objects_have_a_sensible_size(self) -> None:
        shares = [(np.asarray(synthetic_pair(n, 64)[1]) > 0).mean() for n in range(30)]
        assert min(shares) > 0.02
        assert max(shares) < 0.7

    def test_camouflage_is_harder_to_tell_by_colour(self) -> None:
        def contrast(number: int) -> float:
            image, mask = (np.asarray(x, np.float32) for x in synthetic_pair(number, 64))
            inside = mask > 0
            return float(np.abs(image[inside].mean(0) - image[~inside].mean(0)).max())

        salient = np.median([contrast(n) for n in range(0, 40, 2)])
        camouflaged = np.median([contrast(n) for n in range(1, 40, 2)])
        assert salient > 2 * camouflaged

    def test_folder_must_be_empty(self, folder: Path) -> None:
        with pytest.raises(OutputError, match="not empty"):
            write_synthetic(folder, 2)
        with pytest.raises(ValueError, match="at least 1 and 32"):
            write_synthetic(folder.parent / "new", 2, size=8)


@pytest.mark.parametrize("name", ["sd-saliency-300", "cvc-clinicdb-204", "duts-te-200"])
def test_real_sets_pair_up(name: str) -> None:
    root = SHARED / "data" / name
    if not root.is_dir():
        pytest.skip(f"the data set {name} is not beside the repository")
    pairs = find_pairs(root)
    assert len(pairs) == int(name.rsplit("-", 1)[1])
    sample = PairDataset(pairs, (128, 128), (112, 112), keep_truth=True)[0, 0]
    assert set(np.unique(sample.truth)) <= {0, 255}


def test_the_large_archive_is_read_in_place() -> None:
    archive = SHARED / "data" / "duts-tr-256.tar"
    if not archive.is_file():
        pytest.skip("the archive duts-tr-256.tar is not beside the repository")
    pairs = find_pairs(archive)
    assert len(pairs) == 10_553
    image, mask = read_image(pairs[-1].image), read_mask(pairs[-1].mask)
    assert image.size == mask.size


def test_drafts_have_the_views_pixels(tmp_path: Path) -> None:
    """2,000×1,200 px, views of 128: a quarter is 500×300; an eighth, 250×150, is enough, too."""
    image, mask = synthetic_pair(0, 64)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    image.resize((2000, 1200)).save(tmp_path / "images" / "a.jpg", quality=95)
    mask.resize((2000, 1200)).save(tmp_path / "masks" / "a.png")
    (pair,) = find_pairs(tmp_path)
    assert read_pair(pair).image.size == (2000, 1200)
    assert read_pair(pair, 150).image.size == (250, 150)
    assert read_pair(pair, 151).image.size == (500, 300)
    assert read_pair(pair, 151).mask.size == (2000, 1200)
    plain, draft = (
        PairDataset([pair], (128, 96), (112, 140), draft=d)[0, 0] for d in (False, True)
    )
    assert plain.dino is not None
    assert draft.dino is not None
    assert not torch.equal(plain.sam, draft.sam)
    assert float((plain.sam - draft.sam).abs().mean()) < 0.05
    assert float((plain.dino - draft.dino).abs().mean()) < 0.05
    assert torch.equal(plain.mask, draft.mask)
    cropped = [PairDataset([pair], (128, 96), None, crop=1, draft=d)[0, 0] for d in (False, True)]
    assert torch.equal(cropped[0].sam, cropped[1].sam)


def test_varied_pairs_stay_together() -> None:
    """Every crop shows the same part of image and mask; colours change the image alone."""
    rng = np.random.default_rng(0)
    ramp = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)
    image = Image.fromarray(np.stack([ramp % 251, ramp % 241, ramp % 239], -1).astype(np.uint8))
    mask = Image.fromarray((ramp % 251).astype(np.uint8))
    areas = []
    for _ in range(200):
        part, part_of_mask = vary(image, mask, 1.0, 0.0, rng)
        np.testing.assert_array_equal(np.asarray(part)[..., 0], np.asarray(part_of_mask))
        areas.append(part.width * part.height / (60 * 80))
        assert 0.7 < part.width / part.height / (80 / 60) < 1.4
    assert 0.35 < min(areas) < 0.45
    assert max(areas) > 0.9
    changed = 0
    for _ in range(50):
        part, part_of_mask = vary(image, mask, 0.0, 0.5, rng)
        np.testing.assert_array_equal(np.asarray(mask), np.asarray(part_of_mask))
        changed += not np.array_equal(np.asarray(part), np.asarray(image))
    assert 15 < changed < 35


def test_variations_depend_on_seed_epoch_and_index(tmp_path: Path) -> None:
    write_synthetic(tmp_path, 2, 64)
    pairs = find_pairs(tmp_path)
    dataset = PairDataset(pairs, (64, 64), None, crop=1, colour=1, seed=3)
    again = PairDataset(pairs, (64, 64), None, crop=1, colour=1, seed=3)
    other = PairDataset(pairs, (64, 64), None, crop=1, colour=1, seed=4)
    assert torch.equal(dataset[1, 0].sam, again[1, 0].sam)
    assert torch.equal(dataset[1, 0].mask, again[1, 0].mask)
    assert not torch.equal(dataset[1, 0].sam, dataset[2, 0].sam)
    assert not torch.equal(dataset[1, 0].sam, other[1, 0].sam)
