"""The training step, the validation step and the optimiser."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import lightning as L
import numpy as np
import torch
from torch import Tensor

from dsunet.config import LossConfig, TrainConfig
from dsunet.config.renamed import todays
from dsunet.config.tiling import Tiling
from dsunet.data.augment import Box
from dsunet.data.dataset import Batch, tile_of
from dsunet.data.tiles import Grid
from dsunet.errors import CheckpointError, TrainingError
from dsunet.maps.semantic import FeatureCache
from dsunet.metrics import OWN_MEASURES, BestThreshold, ImageMeasures, Measures
from dsunet.metrics.classes import ClassMeasures, class_counts
from dsunet.network.base import SegmentationModel
from dsunet.network.decoder import SegmentationLogits
from dsunet.running.class_maps import class_masks
from dsunet.running.inference import forward_views, predict_probabilities, probabilities_of
from dsunet.running.maps import quantise
from dsunet.running.memory import WORTH, give_back, keep_freed
from dsunet.running.step import Given, in_float32, loss_of, wanted_outputs, way_there
from dsunet.running.tiling import blended
from dsunet.training.average import WeightAverage
from dsunet.training.distillation import Distillation
from dsunet.training.loaders import Orders
from dsunet.training.rates import parameter_groups
from dsunet.training.scales import at_another_size
from dsunet.training.schedule import cosine_factor
from dsunet.weights.checkpoint import about_json, describe

__all__ = ["SegmentationModule"]

_T = TypeVar("_T")


class SegmentationModule(L.LightningModule):
    """The paper's recipe (section IV-C) around a network.

    Args:
        model: The network.
        config: The recipe.
        loss: The loss.
        cache: Where DINOv2's maps may be.
        distillation: What is learned from a teacher, beside the truth.
        orders: The order of the training images and of those that are measured, which say what of
            them is this process's; without it all is.
        tiling: Of pictures that are measured tile by tile, and come whole in their batches.
    """

    def __init__(
        self,
        model: SegmentationModel,
        config: TrainConfig,
        loss: LossConfig,
        cache: FeatureCache | None = None,
        distillation: Distillation | None = None,
        orders: Orders | None = None,
        tiling: Tiling | None = None,
    ) -> None:
        super().__init__()
        self.tiling = tiling
        self.orders = orders
        self.model = model
        self.cache = cache
        self.distillation = distillation
        # for training alone, and a function: a module would put its own names into the state
        self._compiled: Callable[..., Any] | None = None
        if config.compile:
            forward = model.outputs_and_levels if self._takes_levels else model.forward
            self._compiled = torch.compile(forward, dynamic=False)
        self.recipe = config
        self.loss_config = loss
        self.average = WeightAverage(model, config.average) if config.average else None
        self.measures: Measures | ClassMeasures | None = None
        # of this process's pictures, in order
        self._measured: list[ImageMeasures | np.ndarray | None] = []
        self.latest: dict[str, float] = {}
        self.best_threshold: BestThreshold | None = None  # at the latest validation
        self.validation_loss: float | None = None  # mean over the pictures of the latest validation
        self._validation_losses: list[float] = []
        self._loss_sum = torch.zeros(())
        self._loss_count = 0
        self._worth = WORTH  # from how many bytes on freed memory is given back
        self._names: list[str] = []  # of the batches since the last step of the optimiser
        self.strict_loading = False  # frozen tensors are not in the checkpoint, see below

    @property
    def _takes_levels(self) -> bool:
        """Whether feature maps are learned from."""
        return self.distillation is not None and len(self.distillation.heads) > 0

    @property
    def evaluated(self) -> SegmentationModel:
        """What is validated and saved: the average of the weights, if there is one."""
        return self.model if self.average is None else self.average.module

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        orders = None if self.orders is None or self.trainer.world_size == 1 else self.orders
        if self.recipe.multi_scale:  # all processes draw the first one's size
            draws = orders and torch.Generator().manual_seed(self._step_seed(0, batch_idx))
            batch = at_another_size(batch, self.recipe.multi_scale, draws)
        network = self._compiled or (
            self.model.outputs_and_levels if self._takes_levels else self.model
        )
        maps = self._semantics(batch)
        given = way_there(network, batch.sam, batch.dino, self.loss_config, maps=maps)
        loss = (
            self._loss_of(given.logits, batch)
            if self.distillation is None or batch.lesson is None
            else self._distilled_loss(self.distillation, given, batch)
        )
        self._give_back(self._worth)  # what only the way there needed
        self._names += batch.names
        self._require_finite("loss", loss)
        count, weight = len(batch.sam), 1.0
        if orders is not None:
            count, weight = orders.training.share(batch_idx), orders.training.weight(batch_idx)
        self._loss_sum = self._loss_sum.to(loss.device) + loss.detach() * count
        self._loss_count += count
        self.log("loss", loss, prog_bar=True, on_step=True, batch_size=len(batch.sam))
        # the gradient of all is the mean of those of each process
        return loss if weight == 1 else loss * weight

    def _loss_of(self, logits: SegmentationLogits, batch: Batch) -> Tensor:
        exclusive = self.model.exclusive
        return loss_of(logits, batch.mask, self.loss_config, batch.counted, exclusive)

    def _distilled_loss(self, distillation: Distillation, given: Given, batch: Batch) -> Tensor:
        """Truth, of the images that have it, and teacher; each image weighs the same in a term.

        Pixels that the masks ignore have no part in the truth's term; the teacher speaks of them.
        """
        assert batch.lesson is not None
        config, labelled = distillation.config, batch.lesson.labelled
        truth = batch.mask.new_zeros(())
        if config.truth_weight and bool(labelled.any()):
            chosen = SegmentationLogits(*(None if x is None else x[labelled] for x in given.logits))  # type: ignore[arg-type]
            share = labelled.float().mean()
            counted = None if batch.counted is None else batch.counted[labelled]
            truth = share * loss_of(chosen, batch.mask[labelled], self.loss_config, counted)
        soft, feature = distillation(given.logits, given.levels, batch.lesson)
        for name, term in (("truth", truth), ("teacher", soft), ("feature", feature)):
            self.log(f"loss_{name}", term, on_step=True, batch_size=len(batch.sam))
        loss: Tensor = (
            config.truth_weight * truth
            + config.teacher_weight * soft
            + config.feature_weight * feature
        )
        return loss

    def _semantics(self, batch: Batch) -> list[Tensor] | None:
        """DINOv2's maps, which the network takes in place of its view, if they are kept."""
        return None if self.cache is None else self.cache.complete(self.model, batch)

    def predict(self, batch: Batch) -> list[np.ndarray]:
        """Probability maps at the size of the batch's truths; in evaluation mode."""
        if batch.pictures is not None:
            return self._tile_by_tile(batch)[0]
        maps = self._semantics(batch)
        return predict_probabilities(self.evaluated, batch.sam, batch.dino, _sizes(batch), maps)

    def validated_logits(self, batch: Batch) -> SegmentationLogits:
        """What both the maps and the loss of validation are made of, by one pass.

        The fine output is the very one of `predict`, whether the others are wanted or not.
        """
        wanted = wanted_outputs(self.loss_config)
        maps = self._semantics(batch)
        return in_float32(
            forward_views(self.evaluated, batch.sam, batch.dino, maps, outputs=wanted)
        )

    def _maps_and_loss(self, batch: Batch) -> tuple[list[np.ndarray], float]:
        """Maps at the size of the truths, and the loss, of a batch or of a tile."""
        logits = self.validated_logits(batch)
        loss, model = self._loss_of(logits, batch), self.model
        maps = probabilities_of(logits.fine, _sizes(batch), model.classes, model.exclusive)
        return maps, float(loss)

    @torch.inference_mode()
    def _tile_by_tile(self, batch: Batch) -> tuple[list[np.ndarray], float]:
        """The same of one picture in tiles, blended as in prediction; the loss is their mean."""
        assert self.tiling is not None
        sizes, [(height, width)] = self.evaluated.view_sizes, _sizes(batch)
        losses: list[float] = []

        def maps_of(boxes: Sequence[Box]) -> list[np.ndarray]:
            found: list[np.ndarray] = []
            for box in boxes:
                tile = self.transfer_batch_to_device(tile_of(batch, box, sizes), self.device, 0)
                maps, loss = self._maps_and_loss(tile)
                found += maps
                losses.append(loss)
            return found

        whole = blended(Grid.of(height, width, self.tiling), maps_of).clip(0, 1)
        return [whole], float(np.mean(losses))

    def epoch_loss(self) -> float:
        """Mean loss of this process's images of this epoch so far, also of one that goes on."""
        return float(self._loss_sum) / max(1, self._loss_count)

    def whole_epoch_loss(self) -> float:
        """The same of all processes' images; to be called in all of them."""
        total, count = self._loss_of_all()
        return float(total) / max(1, count)

    def _loss_of_all(self) -> tuple[Tensor, int]:
        """Sum over the images of all processes, and their number."""
        if self.trainer.world_size == 1:
            return self._loss_sum, self._loss_count
        own = torch.tensor([float(self._loss_sum), self._loss_count], dtype=torch.float64)
        total, count = self.trainer.strategy.reduce(own.to(self.device), reduce_op="sum")
        return total.float(), int(count)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.trainer.precision != "16-mixed":  # whose scaler leaves such steps out by itself
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            self._require_finite("gradient", torch.nn.utils.get_total_norm(gradients))
        self._names = []

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """As always; the average follows at once, so that a state saved after it is whole."""
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            self.average.update(self.model)

    def _require_finite(self, what: str, value: Tensor) -> None:
        """Stops before the weights are touched."""
        number = float(value.detach())
        if math.isfinite(number):
            return
        done = self.current_epoch
        kept = (
            f"last.safetensors keeps the weights of epoch {done}: start another run from them "
            "(`weights`)"
            if done
            else "start again"
        )
        shown = ", ".join(self._names[:16]) + (", …" if len(self._names) > 16 else "")
        raise TrainingError(
            f"the {what} is {number} at step {self.global_step + 1} in epoch {done + 1}, on "
            f"{shown}; {kept} with a lower `lr` or `encoder_lr`, or `clip_grad_norm` 1, and look "
            "at these files"
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout, say, is a function of the seed and the step; a resumed run repeats it."""
        torch.manual_seed(self._step_seed(self.global_rank, batch_idx))
        if self.recipe.cosine_by == "step":
            batches = float(self.trainer.num_training_batches)
            self._set_rates(self.current_epoch + batch_idx / batches)

    def _step_seed(self, rank: int, batch_idx: int) -> int:
        step = [self.recipe.seed, rank, self.current_epoch, batch_idx]
        return int(np.random.SeedSequence(step).generate_state(1, np.uint64)[0] >> 1)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        # the processes that read pictures are copies of this one, and start between epochs
        self._give_back(0 if self.trainer.is_last_batch else self._worth)

    def on_validation_end(self) -> None:
        self._give_back(0)

    def _give_back(self, worth: float) -> None:
        if self.device.type == "cpu":
            give_back(worth)

    def on_train_start(self) -> None:
        give_back(worth=0)  # what building and loading have left
        if self.recipe.keep_memory:
            self._worth = keep_freed(self.device)

    def on_train_epoch_start(self) -> None:
        self.log("lr", self.recipe.lr * self._set_rates(self.current_epoch))
        self._loss_sum, self._loss_count = torch.zeros(()), 0

    def _set_rates(self, epoch: float) -> float:
        recipe = self.recipe
        factor = cosine_factor(
            epoch, recipe.epochs, recipe.warmup_epochs, recipe.min_lr / recipe.lr
        )
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["base_lr"] * factor
        return factor

    def on_validation_epoch_start(self) -> None:
        recipe, classes = self.recipe, self.model.classes
        self.measures = (
            ClassMeasures(classes)
            if classes
            else Measures(OWN_MEASURES, recipe.protocol, recipe.threshold)
        )
        self._measured, self._validation_losses = [], []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        assert self.measures is not None
        order = self.orders and self.orders.measured
        if order is not None and not order.share(batch_idx):  # another process measures it
            return
        ignored = batch.ignored or [None] * len(batch.truths)
        truths = [
            (truth, apart)
            for truth, apart in zip(batch.truths, ignored, strict=True)
            if truth is not None
        ]
        way = self._maps_and_loss if batch.pictures is None else self._tile_by_tile
        maps, loss = way(batch)
        self._validation_losses += [loss] * len(batch.sam)
        model = self.model
        for probability, (truth, apart) in zip(maps, truths, strict=True):
            if isinstance(self.measures, ClassMeasures):
                found = class_masks(probability, model.exclusive, self.recipe.threshold)
                self._measured.append(class_counts(found, truth >= 128, apart))
            else:
                self._measured.append(self.measures.of(quantise(probability), truth, apart))

    def on_validation_epoch_end(self) -> None:
        assert self.measures is not None
        add: Callable[[Any], None] = self.measures.add  # of what these very measures gave
        for one in self._of_all(self._measured):
            if one is not None:
                add(one)
        best_threshold = (
            None if isinstance(self.measures, ClassMeasures) else self.measures.best_threshold()
        )
        losses = [loss for loss in self._of_all(self._validation_losses) if loss is not None]
        # what the first process finds, so that all decide alike
        self.latest, self.best_threshold, self.validation_loss = self.trainer.strategy.broadcast(
            (self.measures.summary(), best_threshold, float(np.mean(losses)))
        )
        self.measures, self._measured = None, []
        self.log("val_loss", self.validation_loss, sync_dist=False)
        # logged in float64 by the callback that writes metrics.csv; torch keeps float32 here
        self.log_dict(self.latest, prog_bar=True, sync_dist=False)

    def _of_all(self, own: Sequence[_T]) -> list[_T | None]:
        """What there is of every picture, in the order of the validation set."""
        if self.trainer.world_size == 1:
            return list(own)
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, own)
        rounds = itertools.zip_longest(*parts, fillvalue=None)  # of each, one of every process
        return [one for each in rounds for one in each]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        heads = [] if self.distillation is None else list(self.distillation.parameters())
        groups = parameter_groups(self.model, recipe, heads)
        trained = [parameter for group in groups for parameter in group["params"]]
        # one kernel for all tensors; float16's scaler could not clip gradients before it
        fused = all(p.is_cuda for p in trained) and recipe.precision != "float16"
        return torch.optim.AdamW(
            groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused or None
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.model.save_changed()
        keep = self._changing_names()
        if not self.model.encoders:  # a network may change tensors that have no gradients by itself
            keep = set(self.state_dict()) - self._in_both(self.model.left_out)
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: state[name] for name in state if name in keep}
        checkpoint["dsunet"] = about_json(describe(self.model))  # so that `dsunet.load` reads it
        if self.distillation is not None:
            checkpoint["teacher"] = self.distillation.identity
        total, count = self._loss_of_all()
        checkpoint["loss"] = {"sum": total.cpu(), "count": count}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.average is not None:  # which earlier versions did not count
            steps = torch.tensor(checkpoint["global_step"])
            checkpoint["state_dict"].setdefault("average.steps", steps)
        absent = self._changing_names() - set(checkpoint["state_dict"])
        if absent:
            raise RuntimeError(f"the resume state lacks {sorted(absent)[:3]}")
        self.model.save_too(name.removeprefix("model.") for name in checkpoint["state_dict"])
        self._require_the_same_encoders(checkpoint.get("dsunet"))
        if self.distillation and checkpoint.get("teacher") != self.distillation.identity:
            raise CheckpointError(
                "the run was started with another teacher, or other maps of it, than "
                f"{self.distillation.config.teacher}; give the same one (`teacher`)"
            )
        if self.global_rank == 0:  # of all processes, however many there were
            self._loss_sum = checkpoint["loss"]["sum"]
            self._loss_count = checkpoint["loss"]["count"]

    def _require_the_same_encoders(self, about: str | None) -> None:
        """Files of frozen encoders may have moved since the run began, but not changed."""
        before = todays(json.loads(about)["encoders"]) if about else {}
        own = describe(self.model)
        after = own["encoders"]
        for role in {**before, **after}:
            was, now = (
                each and each["fingerprint"] for each in (before.get(role), after.get(role))
            )
            if before and was != now and role == "frozen":
                raise CheckpointError(
                    "the run was started with other frozen tensors than "
                    f"{own['model']['custom']} makes now; let it make the same ones (from "
                    "the same file, say)"
                )
            if before and was != now:
                raise CheckpointError(
                    f"the run was started with other weights of {role} ({str(was)[:19]}…) than "
                    f"these ({str(now)[:19]}…); give the same ones (`{role}_weights`)"
                )

    def _changing_names(self) -> set[str]:
        """Names of everything that training changes: trained parameters and statistics."""
        frozen = [name for name, p in self.model.named_parameters() if not p.requires_grad]
        return set(self.state_dict()) - self._in_both(frozen)

    @staticmethod
    def _in_both(names: Iterable[str]) -> set[str]:
        """Names of the model's tensors as they are here, in the model and in its average."""
        return {f"{start}{name}" for name in names for start in ("model.", "average.module.")}


def _sizes(batch: Batch) -> list[tuple[int, int]]:
    """Height and width of a batch's truths."""
    return [(truth.shape[-2], truth.shape[-1]) for truth in batch.truths if truth is not None]
