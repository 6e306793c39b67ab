"""Taking whole channels out of the decoder and the adapters.

Which channels are tied to each other, by a sum, a concatenation or a convolution, is what
Torch-Pruning finds out from autograd's graph (Fang et al., "DepGraph: Towards Any Structural
Pruning", CVPR 2023, arXiv 2301.12900); it rates them and takes them out, too. Two things about the
decoder's attention cannot be seen in that graph and are done here: query and key are tied channel
by channel, but not to the value; and dot products are divided by the root of the number of
channels, so that fewer channels need smaller queries for the same weights.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dsunet.config import ModelConfig, PruneConfig
from dsunet.errors import ConfigError, MissingPackageError
from dsunet.network.build import build_decoder
from dsunet.network.decoder import CrossScaleAttention, Decoder
from dsunet.network.encoders import AdaptedBlock, Adapter
from dsunet.network.layers import ConvBNReLU
from dsunet.network.model import DSUNet

__all__ = ["copy_with", "prune_channels", "pruned_config"]

# Sides of the levels, fine to coarse, that the decoder is traced with.
_SIDES = (32, 16, 8, 4)

Gradients = Mapping[str, Tensor]


def pruned_config(config: ModelConfig, settings: PruneConfig) -> ModelConfig:
    """The settings of the network that `prune_channels` gives.

    Of n channels, n · (1 − ratio) stay, rounded to a multiple of `settings.multiple`: at least one
    such multiple, and never more than there are.

    Raises:
        ConfigError: A ratio is given for a part that the network does not have, or it has blocks of
            the user's own.
    """
    if config.blocks:
        field, name = next(iter(config.blocks.items()))
        raise ConfigError(
            f"the network has {name} as `{field}`, whose channels nobody but its author can tie "
            "together; prune one without blocks of your own"
        )
    absent = {
        "attention_ratio": "its decoder has no attention" if config.decoder != "sff" else "",
        "adapter_ratio": "it has no adapters" if config.adapter_channels == 0 else "",
    }
    for name, reason in absent.items():
        if reason and getattr(settings, name) is not None:
            raise ConfigError(f"`{name}` is given, but the network is a {config.name}: {reason}")
    decoder = settings.ratio_of("decoder")
    kept = partial(_kept, multiple=settings.multiple)
    widths: dict[str, Any] = {
        "decoder_channels": kept(config.decoder_channels, decoder)
        if isinstance(config.decoder_channels, int)
        else tuple(kept(width, decoder) for width in config.decoder_channels)
    }
    if not absent["attention_ratio"]:
        ratio = settings.ratio_of("attention")
        widths["attention_channels"] = kept(config.attention_channels, ratio)
    if not absent["adapter_ratio"]:
        ratio = settings.ratio_of("adapter")
        widths["adapter_channels"] = kept(config.adapter_channels, ratio)
    return dataclasses.replace(config, **widths)


def _kept(width: int, ratio: float, *, multiple: int) -> int:
    if ratio == 0:
        return width
    return min(width, max(multiple, multiple * round(width * (1 - ratio) / multiple)))


def prune_channels(
    model: DSUNet, settings: PruneConfig | None = None, gradients: Gradients | None = None
) -> DSUNet:
    """A smaller copy of a network, without its least important channels.

    Channels go from the decoder (receptive field blocks, spatial feature fusion) and from the
    adapters. What ties those that stay keeps its values. The encoders themselves are untouched, and
    frozen tensors are shared with the original.

    Args:
        model: A model with a config; it is left as it is.
        settings: How much to take away.
        gradients: Of the loss, by the names of the parameters of decoder and adapters, see
            `loss_gradients`. With them, channels are rated by |weight · gradient| (Molchanov et
            al., CVPR 2019), else by the size of their weights; summed over all tied layers.

    Returns:
        A model in evaluation mode whose `config` says the new widths.

    Raises:
        MissingPackageError: Torch-Pruning is not installed.
        ConfigError: The model has no config, or the settings do not fit it.
    """
    if model.config is None:
        raise ConfigError("the model has no config, which would have to say its new widths")
    config = pruned_config(model.config, settings or PruneConfig())
    twin = copy_with(model, config).eval()
    if gradients is not None:
        for name, parameter in twin.named_parameters():
            parameter.grad = gradients.get(name)
    shrink = _Shrink(by_gradient=gradients is not None)
    twin.decoder = _smaller_decoder(twin, config, shrink)
    for part in twin.pyramid.modules():
        if isinstance(part, AdaptedBlock):
            part.adapter = _smaller_adapter(part.adapter, config, shrink)
    return twin.eval()


def copy_with(model: DSUNet, config: ModelConfig) -> DSUNet:
    """A copy with another config that shares the frozen tensors."""
    frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
    twin = copy.deepcopy(model, frozen)
    twin.config = config
    return twin


class _Shrink:
    """Brings a part of a network to the shapes of a narrower one, by Torch-Pruning."""

    def __init__(self, *, by_gradient: bool) -> None:
        try:
            import torch_pruning
        except ImportError as error:
            raise MissingPackageError(
                f"pruning needs the package {error.name}; install it by pip install 'dsunet[prune]'"
            ) from error
        self.graph_of: Any = torch_pruning.DependencyGraph
        importances = torch_pruning.importance
        self.importance: Any = (
            importances.GroupTaylorImportance()
            if by_gradient
            else importances.GroupMagnitudeImportance(p=2)
        )

    def __call__(
        self,
        part: nn.Module,
        like: nn.Module,
        inputs: Tensor | Sequence[Tensor],
        forward: Callable[..., Any] | None = None,
        fixed: Sequence[nn.Module] = (),
    ) -> None:
        """Takes channels out of `part` until its layers are as wide as those of `like`.

        Args:
            part: What is changed; in evaluation mode.
            like: The same structure, narrower.
            inputs: What `part` is traced with.
            forward: How, called with `part` and `inputs`; may give more outputs than `part` has.
            fixed: Layers of `part` whose outputs stay.
        """
        layers = (nn.Conv2d, nn.Linear)
        names = {module: name for name, module in part.named_modules()}
        widths = {n: len(m.weight) for n, m in like.named_modules() if isinstance(m, layers)}
        graph = self.graph_of().build_dependency(part, inputs, forward, verbose=False)
        plan = []
        for group in graph.get_all_groups(list(fixed), layers):
            wanted = {
                widths[names[step.target.module]]
                for step, _ in group
                if isinstance(step.target.module, layers)
                and graph.is_out_channel_pruning_fn(step.handler)
            }
            (width,), present = wanted, len(group[0].idxs)
            if width < present:
                least = torch.argsort(self.importance(group), stable=True)[: present - width]
                plan.append((group[0].dep, sorted(least.tolist())))
        for step, channels in plan:  # now that all are rated by the weights as they were
            graph.get_pruning_group(step.target.module, step.handler, channels).prune()


def _smaller_decoder(model: DSUNet, config: ModelConfig, shrink: _Shrink) -> Decoder:
    old, channels = model.decoder, model.pyramid.channels
    new = build_decoder(config, channels)
    assert isinstance(old, Decoder)  # `pruned_config` refuses others
    assert isinstance(new, Decoder)
    device = next(old.parameters()).device
    new = new.to(device)
    never_run = list(old.fuse[len(old.heads) :])  # nothing to trace
    del old.fuse[len(old.heads) :]
    widths = {name: part.value.conv.out_channels for name, part in _attentions(old)}
    levels = [torch.zeros(1, c, s, s, device=device) for c, s in zip(channels, _SIDES, strict=True)]
    with torch.enable_grad(), _traceable(old) as ties:

        def forward(decoder: Decoder, pyramid: list[Tensor]) -> list[Tensor | None]:
            return [*decoder(pyramid, (_SIDES[0], _SIDES[0])), *ties]

        shrink(old, new, levels, forward, fixed=list(old.heads))
    for name, part in _attentions(old):
        _scale_queries(part, math.sqrt(part.value.conv.out_channels / widths[name]))
    state = old.state_dict()
    for i, part in enumerate(never_run, start=len(old.fuse)):
        for name, target in new.fuse[i].state_dict().items():
            corner = tuple(slice(side) for side in target.shape)
            state[f"fuse.{i}.{name}"] = part.state_dict()[name][corner]
    new.load_state_dict(state)
    return new


def _smaller_adapter(old: Adapter, config: ModelConfig, shrink: _Shrink) -> Adapter:
    channels, weight = old.down.in_features, old.down.weight
    new = Adapter(channels, config.adapter_channels).to(weight.device)
    with torch.enable_grad():
        shrink(old, new, torch.zeros(1, channels, device=weight.device), fixed=[old.up])
    new.load_state_dict(old.state_dict())
    return new


def _attentions(decoder: Decoder) -> list[tuple[str, Any]]:
    return [
        (n, part) for n, part in decoder.named_modules() if isinstance(part, CrossScaleAttention)
    ]


@contextlib.contextmanager
def _traceable(decoder: Decoder) -> Iterator[list[Tensor]]:
    """Lets attention compute, while it is traced, what ties the right channels.

    Torch-Pruning takes what it does not know to work channel by channel, and would tie query, key
    and value all to each other. Gives a list of products of query and key, further outputs.
    """
    ties: list[Tensor] = []
    parts = [part for _, part in _attentions(decoder)]
    for part in parts:
        part.forward = partial(_traced_attention, part, ties)
    try:
        yield ties
    finally:
        for part in parts:
            del part.forward


def _traced_attention(
    attention: CrossScaleAttention, ties: list[Tensor], guide: Tensor, content: Tensor
) -> Tensor:
    ties.append(attention.query(guide) * attention.key(guide))
    out: Tensor = attention.out(attention.value(content))
    return out


@torch.no_grad()
def _scale_queries(attention: CrossScaleAttention, factor: float) -> None:
    """A factor on all queries; ReLU lets a factor above 0 pass, so BatchNorm can hold it."""
    last = attention.query[1]
    assert isinstance(last, ConvBNReLU)
    if factor != 1:
        last.bn.weight.mul_(factor)
        last.bn.bias.mul_(factor)
