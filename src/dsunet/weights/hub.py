"""Models on the Hugging Face Hub: what training changed, encoders by name, and a card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from dsunet.config import ModelConfig
from dsunet.config.renamed import as_on_disk, takes_old_names, todays
from dsunet.errors import DsunetError, WeightsError
from dsunet.weights.checkpoint import describe, save

if TYPE_CHECKING:
    from dsunet.network.base import SegmentationModel

__all__ = ["HubMixin", "hub_file", "model_card"]

WEIGHTS_FILE = "model.safetensors"


class HubMixin(ModelHubMixin):
    """`save_pretrained`, `push_to_hub` and `from_pretrained` for our models.

    A folder or repository holds `model.safetensors`, a file of ours with the encoders by name (see
    `dsunet.weights.checkpoint`), `config.json` with the model's settings, for people and the
    hub's pages, and `README.md`, the card. `from_pretrained` also takes `pyramid_weights` and
    `semantic_weights`, as `dsunet.load` does.
    """

    @classmethod
    @takes_old_names
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """The model in a folder or a repository of the hub, ready to predict.

        Args:
            pretrained_model_name_or_path: The folder, or a name such as `someone/steel`.
            **options: huggingface_hub's (`revision`, `token`, `cache_dir`, `local_files_only`,
                `force_download`), and `pyramid_weights` and `semantic_weights`.

        Raises:
            WeightsError: It cannot be fetched or read.
        """
        try:
            model = super().from_pretrained(pretrained_model_name_or_path, **options)
        except DsunetError:
            raise
        except (HfHubHTTPError, OSError, ValueError, TypeError, AttributeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise WeightsError(
                f"{pretrained_model_name_or_path} could not be had ({reason}); give a folder that "
                "save_pretrained wrote, or check the name on the Hugging Face Hub and the network"
            ) from error
        return model

    def _save_pretrained(self, save_directory: Path) -> None:
        model = cast("SegmentationModel", self)
        save(model, save_directory / WEIGHTS_FILE)
        if model.config is not None:  # as in the weights file, settings keep their first names
            settings = json.dumps(as_on_disk(model.config.to_dict()), sort_keys=True, indent=2)
            (save_directory / "config.json").write_text(settings, encoding="utf-8")

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card in the model's folder; keyword arguments become fields of its front matter."""
        return model_card(cast("SegmentationModel", self), **kwargs)


def hub_file(
    model_id: str,
    *,
    revision: str | None,
    cache_dir: str | Path | None,
    force_download: bool,
    local_files_only: bool,
    token: str | bool | None,
    **settings: Any,  # from config.json, which the weights file says better
) -> Path:
    """The weights file in a folder that `save_pretrained` wrote, or in a repository of the hub.

    Raises:
        TypeError: There is no such option.
    """
    unknown = set(todays(settings)) - {field.name for field in fields(ModelConfig)} - {"config"}
    if unknown:
        raise TypeError(f"there is no option {sorted(unknown)[0]!r}")
    if Path(model_id).is_dir():
        return Path(model_id) / WEIGHTS_FILE
    return Path(
        hf_hub_download(
            model_id,
            WEIGHTS_FILE,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
    )


def model_card(model: SegmentationModel, **fields: Any) -> ModelCard:
    """A card that says what the model is, what it was trained on, and how to use it.

    Args:
        model: A model with a `config`.
        **fields: For the front matter, such as `license="cc-by-4.0"`.
    """
    about = describe(model)
    config = about["model"]
    sources = [reference["name"] for reference in about["encoders"].values() if reference]
    data = ModelCardData(
        library_name="dsunet",
        pipeline_tag="image-segmentation",
        tags=["image-segmentation", "salient-object-detection", "dsunet"],
        base_model=[f"timm/{name}" for name in sources if name] or None,
        **fields,
    )
    branch = f" and {config['semantic']}" if config["injection"] != "none" else ""
    counts = {
        "all": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    lines = [
        f"# {config['name']}",
        "",
        f"Segments the object in an image: {config['name']} of the package `dsunet`, on "
        f"{config['pyramid']}{branch}. {counts['all']:,} parameters, of which "
        f"{counts['trained']:,} were trained.",
        "",
        "```python",
        "import dsunet",
        "",
        'model = dsunet.DSUNet.from_pretrained("this repository, or its folder")',
        'dsunet.Segmenter(model)("photo.jpg").overlay().show()',
        "```",
        "",
        "## Encoders",
        "",
        *_encoder_lines(about["encoders"]),
        "",
        "## Training",
        "",
        *_table(about["training"]),
        "",
        "## Settings",
        "",
        *_table(config),
        "",
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines))


def _encoder_lines(encoders: Mapping[str, Any]) -> list[str]:
    lines = []
    for role, reference in encoders.items():
        if reference is None:
            lines.append(f"- {role}: in `{WEIGHTS_FILE}`")
        else:
            name = f"`timm/{reference['name']}`" if reference["name"] else "not a public one"
            lines.append(f"- {role}: {name}, not in this repository; {reference['fingerprint']}")
    return lines


def _table(values: Mapping[str, Any]) -> list[str]:
    if not values:
        return ["Not recorded."]
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += [(f"{key}: {name}", inner) for name, inner in value.items()]
        else:
            rows.append((key, value))
    shown = [(key, f"{v:.4f}" if isinstance(v, float) else f"{v}") for key, v in rows]
    return ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in shown)]
