"""The registry of public weights agrees with timm and with what we build."""

from __future__ import annotations

import re

import pytest
import timm

import dsunet
from dsunet.config import MODEL_PRESETS
from dsunet.errors import WeightsError
from dsunet.weights import PUBLIC_WEIGHTS, find_public, public_name
from weightfiles import empty_trunk

# all but those of dsunet-lite, see test_lite.py
FETCHED = {name: entry for name, entry in PUBLIC_WEIGHTS.items() if entry.package is None}


@pytest.mark.parametrize("entry", FETCHED.values(), ids=FETCHED)
def test_registry_entry(entry: dsunet.weights.PublicWeights) -> None:
    config = timm.get_pretrained_cfg(entry.name)
    assert config.hf_hub_id == entry.hub_id
    assert config.license == entry.license.lower()
    assert (config.mean, config.std) == (entry.mean, entry.std)
    trunk = empty_trunk(entry)
    assert sum(p.numel() for p in trunk.parameters()) == entry.parameters
    assert len(trunk.blocks) == entry.depth
    assert trunk.blocks[0].norm1.weight.numel() == entry.channels
    assert getattr(trunk, "num_reg_tokens", 0) == entry.registers
    if entry.role == "semantic":
        assert config.input_size[1] == entry.native_size
        assert config.url == entry.official_url
    assert entry.official_sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.official_sha256)


def test_registry_as_a_whole() -> None:
    tags = timm.list_models("sam2_hiera*", pretrained=True)
    tags += timm.list_models("vit_[!g]*dinov2*", pretrained=True)
    assert set(FETCHED) == set(tags)
    sums = [w.official_sha256 for w in FETCHED.values() if w.official_sha256]
    assert len(sums) == len(set(sums)) == 11
    for config in MODEL_PRESETS.values():
        if not config.name.endswith("-nano"):
            assert public_name(config.pyramid, config.sam_version) in PUBLIC_WEIGHTS


def test_finding_an_entry() -> None:
    large = PUBLIC_WEIGHTS["sam2_hiera_large.fb_r1024_2pt1"]
    for name in (large.name, "sam2_hiera_large", "sam2.1_hiera_large.pt", large.hub_id):
        assert find_public(name) is large
    assert find_public("sam2_hiera_large.pt").version == "2.0"
    with pytest.raises(WeightsError, match="no weights 'resnet50' in the registry; known: sam2"):
        find_public("resnet50")
    assert public_name("sam2_hiera_tiny", "2.0") == "sam2_hiera_tiny.fb_r896"
    assert public_name("sam2_hiera_tiny") == "sam2_hiera_tiny.fb_r896_2pt1"
    assert public_name("vit_large_patch14_dinov2") == "vit_large_patch14_dinov2.lvd142m"
    assert public_name("vit_tiny_patch16_224").startswith("vit_tiny_patch16_224.")
    with pytest.raises(WeightsError, match="no public weights for 'hiera_nano'"):
        public_name("hiera_nano")
