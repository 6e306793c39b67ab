"""Networks of the user's own to start from, and back from their weights files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dsunet.errors import CheckpointError, ConfigError, CustomModelError
from dsunet.network.custom import CustomModel
from dsunet.network.fingerprint import fingerprint
from dsunet.network.source import CustomSource
from dsunet.weights.identify import custom_config_of
from dsunet.weights.load import fill_model
from dsunet.weights.opened import Weights, open_weights

__all__ = ["create_custom", "load_custom"]


def create_custom(source: CustomSource, weights: str | Path | None = "default") -> CustomModel:
    """A network to train.

    Args:
        source: What makes it.
        weights: A file to start from; `"default"` or `None` takes it as it is made.

    Raises:
        CustomModelError: There is nothing to train.
        CheckpointError: The file does not fit.
    """
    if weights == "encoders":
        raise ConfigError(
            f"`weights` encoders is for dsunet's models; {source.name} has to load its encoders' "
            "weights by itself"
        )
    if weights is None or weights == "default":
        model = source.network()
        _leave_out_frozen(model, source)
    else:
        model = load_custom(weights, source)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise CustomModelError(f"{source.name} has no parameters that are trained")
    return model.train()


def _frozen(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}


def _leave_out_frozen(model: CustomModel, source: CustomSource) -> None:
    """Files need not hold frozen tensors that are made alike every time; a second try tells."""
    frozen = _frozen(model)
    if not frozen or isinstance(source.target, nn.Module):
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() + 1)
        again = _frozen(source.network())
    # two that share memory, as what a factory keeps for the next call, are not made at all
    if frozen.keys() == again.keys() and all(
        frozen[n].data_ptr() != again[n].data_ptr() and torch.equal(frozen[n], again[n])
        for n in frozen
    ):
        model.leave_out(frozen)


def load_custom(path: str | Path | Weights, source: CustomSource) -> CustomModel:
    """A network with the weights of a file, ready to predict.

    Args:
        path: A file that `dsunet.save` or a training run wrote, the run's folder, or a state dict
            of the network, as `torch.save` or safetensors writes it.
        source: What makes the network.

    Raises:
        CustomModelError: The network cannot be made.
        CheckpointError: The file is missing, broken, or of another model.
    """
    file = open_weights(path).state
    if file.about is not None:
        config = custom_config_of(file)
        if config is None:
            raise CheckpointError(
                f"{file.path} is of {file.about['model'].get('name')}, one of dsunet's models, not "
                f"of {source.name}; leave `model` out"
            )
        source = replace(
            source,
            sam_size=config.sam_size,
            dino_size=config.dino_size,
            intensity=source.intensity or config.intensity,
        )
    model = source.network()
    if file.about is None and not file.tensors.keys() <= model.state_dict().keys():
        file = replace(file, tensors={f"network.{n}": t for n, t in file.tensors.items()})
    reference = (file.about or {"encoders": {}})["encoders"].get("frozen")
    if reference:
        rest = {name: p for name, p in _frozen(model).items() if name not in file.tensors}
        if fingerprint(rest) != reference["fingerprint"]:
            raise CheckpointError(
                f"{file.path} was trained with other frozen tensors than {source.name} makes now; "
                "let it make the same ones (from the same file, say)"
            )
        model.leave_out(rest)
    fill_model(model, file)
    return model.eval()
