"""Models that leave torch behind: to an ONNX file, held against the network before it is there."""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.export.run import Exported as Exported
    from dsunet.export.run import export_model as export_model
    from dsunet.export.twin import write_twin as write_twin

__all__, __getattr__, __dir__ = lazy_names(
    __name__, {"run": ["Exported", "export_model"], "twin": ["write_twin"]}
)
