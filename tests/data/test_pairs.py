"""Images and masks find each other, in folders and archives, and are split."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsunet.data import (
    Pair,
    PairDataset,
    find_pairs,
    read_image,
    read_mask,
    select_pairs,
    split_pairs,
)
from dsunet.data.pairs import read_names
from dsunet.data.sources import TarMember
from dsunet.errors import DataError
from helpers import SHARED, tar_of


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
        with pytest.raises(DataError, match="holds no images/ and masks/, and no image"):
            find_pairs(tmp_path)
        (tmp_path / "images").mkdir()
        with pytest.raises(DataError, match="holds no masks/, and no image at all"):
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
