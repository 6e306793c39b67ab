"""Which thresholds a trained model is to be used with, chosen on pictures that it has not seen."""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.calibration.choose import Calibration as Calibration
    from dsunet.calibration.choose import Observed as Observed
    from dsunet.calibration.choose import Wanted as Wanted
    from dsunet.calibration.choose import choose as choose
    from dsunet.calibration.choose import observe as observe
    from dsunet.calibration.run import calibrate as calibrate

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "choose": ["Calibration", "Observed", "Wanted", "choose", "observe"],
        "run": ["calibrate"],
    },
)
