"""Training: a thin Lightning module, callbacks that write the run's folder, and the run itself."""

from dsunet.training.run import TrainResult, train

__all__ = ["TrainResult", "train"]
