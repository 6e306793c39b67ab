"""Images and masks are decoded alike whatever their format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dsunet.data import find_pairs, read_image, read_mask
from dsunet.data.images import decode, read_header, read_map
from dsunet.errors import ImageError
from helpers import tar_of


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
        soft = np.tile(np.arange(0, 256, 15, np.uint8), (4, 1))
        Image.fromarray(soft).save(tmp_path / "soft.png")
        np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "soft.png")), soft)
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
