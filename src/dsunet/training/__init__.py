"""Training: a thin Lightning module, callbacks that write the run's folder, and the run itself."""

from dsunet.training.run import TrainResult, distill, train

__all__ = ["TrainResult", "distill", "train"]
