"""What a student learns from its teacher."""

from __future__ import annotations

from dataclasses import dataclass

from dsunet.config.checking import require
from dsunet.config.renamed import has_old_names

__all__ = ["DistillConfig"]


@has_old_names
@dataclass(frozen=True)
class DistillConfig:
    """What a student learns from its teacher, beside the truth; see docs/distillation.md."""

    teacher: str
    """What to learn from: a weights file or a run's folder; a folder of maps as `dsunet predict`
    writes them, by the images' stems; or a network of your own that has its weights, as
    PACKAGE.MODULE:NAME."""

    teacher_model: str | None = None
    """What makes the network, PACKAGE.MODULE:NAME, if `teacher` is a weights file of a network of
    your own."""

    teacher_pyramid_weights: str | None = None
    """File with the Hiera weights that the teacher's file refers to."""

    teacher_semantic_weights: str | None = None
    """File with the DINOv2 weights that the teacher's file refers to."""

    teacher_weight: float = 2.0
    """Weight of the distance to the teacher's maps in the loss. The usual loss has two terms, IoU
    and cross-entropy: with 2, the teacher counts about as much as the truth."""

    truth_weight: float = 1.0
    """Weight of the usual loss, with the masks, in the loss."""

    temperature: float = 1.0
    """What the logits of teacher and student are divided by before they are compared; above 1,
    small differences far from the object's edge count for more."""

    feature_weight: float = 0.0
    """Weight of the distance to the teacher's feature maps in the loss; 0 leaves them out. Needs
    one of dsunet's models as teacher and as student."""

    feature_levels: tuple[int, ...] = (4,)
    """Which levels' feature maps to learn from, 1 (stride 4) to 4 (stride 32), such as `[3,4]`."""

    unlabelled: tuple[str, ...] = ()
    """Folder of images without masks, from which the student learns what the teacher says; may be
    given several times."""

    teacher_cache: str = "auto"
    """Where the teacher's maps are kept: `auto`, in the user's folder for caches; or a folder."""

    def __post_init__(self) -> None:
        for field in ("feature_levels", "unlabelled"):  # as YAML has them; or not given
            object.__setattr__(self, field, tuple(getattr(self, field) or ()))
        for field in ("teacher", "teacher_pyramid_weights", "teacher_semantic_weights"):
            if getattr(self, field) is not None:  # paths are welcome; settings are kept as text
                object.__setattr__(self, field, str(getattr(self, field)))
        object.__setattr__(self, "unlabelled", tuple(str(folder) for folder in self.unlabelled))
        for field in ("teacher_weight", "truth_weight", "feature_weight"):
            require(getattr(self, field) >= 0, field, getattr(self, field), "needs at least 0")
        require(
            self.teacher_weight > 0 or self.feature_weight > 0,
            "teacher_weight",
            self.teacher_weight,
            "with feature_weight 0, too, there is nothing to learn from the teacher",
        )
        require(self.temperature > 0, "temperature", self.temperature, "needs to be above 0")
        require(
            len(self.feature_levels) > 0
            and list(self.feature_levels) == sorted(set(self.feature_levels))
            and all(level in (1, 2, 3, 4) for level in self.feature_levels),
            "feature_levels",
            self.feature_levels,
            "needs some of 1, 2, 3 and 4, rising",
        )
