"""Which thresholds a trained model is to be used with, chosen on pictures that it has not seen."""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.calibration.run import calibrate as calibrate
    from dsunet.calibration.thresholds import Calibration as Calibration
    from dsunet.calibration.thresholds import Observed as Observed
    from dsunet.calibration.thresholds import Wanted as Wanted
    from dsunet.calibration.thresholds import choose as choose
    from dsunet.calibration.thresholds import observe as observe

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "thresholds": ["Calibration", "Observed", "Wanted", "choose", "observe"],
        "run": ["calibrate"],
    },
)
