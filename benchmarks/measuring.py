"""What every record says of where and when it was made."""

from dsunet.benchmarking import circumstances

__all__ = ["circumstances"]
