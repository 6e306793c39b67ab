"""Objects instead of pixels: connected regions of maps and masks, with their sizes.

Names are imported when they are first used: scikit-image takes a while.
"""

from typing import TYPE_CHECKING

from dsunet.support.lazy import lazy_names

if TYPE_CHECKING:
    from dsunet.objects.files import ObjectReport as ObjectReport
    from dsunet.objects.files import measure_objects as measure_objects
    from dsunet.objects.regions import Region as Region
    from dsunet.objects.regions import find_regions as find_regions

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "files": ["ObjectReport", "measure_objects"],
        "regions": ["Region", "find_regions"],
    },
)
