"""PoseFix: refine human poses, whatever estimator they come from.

Example::

    from posefix import Refiner

    refiner = Refiner.from_pretrained()
    better = refiner(image, keypoints)  # (H, W, 3) uint8 RGB and (N, 17, 3) x, y, score

Results of pose libraries need no such array (``docs/python.md``)::

    keypoints = posefix.to_supervision(refiner(image, posefix.from_supervision(keypoints)), keypoints)

A results file of any format::

    people = posefix.read("poses/", images="photos/")
    better = refiner.refine(people, posefix.ImageFolder.of_people("photos/", people))
    posefix.write(better, "better/")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import Skeleton

if TYPE_CHECKING:
    from posefix.formats import read, write
    from posefix.formats.memory import (
        from_mediapipe,
        from_rtmlib,
        from_supervision,
        from_transformers,
        from_ultralytics,
        to_mediapipe,
        to_rtmlib,
        to_supervision,
        to_transformers,
        to_ultralytics,
    )
    from posefix.lifting.lift import Lifter
    from posefix.media.images import ImageFolder
    from posefix.media.video import VideoFrames
    from posefix.motion.online import OnlineRefiner
    from posefix.motion.refining import refine_video
    from posefix.refine.refiner import Refiner
    from posefix.refine.settings import RefineSettings

__version__ = "0.2.0.dev0"
__all__ = [
    "ImageFolder",
    "InputError",
    "Lifter",
    "OnlineRefiner",
    "People",
    "RefineSettings",
    "Refiner",
    "Skeleton",
    "VideoFrames",
    "__version__",
    "from_mediapipe",
    "from_rtmlib",
    "from_supervision",
    "from_transformers",
    "from_ultralytics",
    "read",
    "refine_video",
    "to_mediapipe",
    "to_rtmlib",
    "to_supervision",
    "to_transformers",
    "to_ultralytics",
    "write",
]

_MODULES = {  # of names that are imported when they are first asked for
    "ImageFolder": "posefix.media.images",
    "Lifter": "posefix.lifting.lift",
    "OnlineRefiner": "posefix.motion.online",
    "RefineSettings": "posefix.refine.settings",
    "Refiner": "posefix.refine.refiner",
    "VideoFrames": "posefix.media.video",
    "read": "posefix.formats",
    "refine_video": "posefix.motion.refining",
    "write": "posefix.formats",
}


def __dir__() -> list[str]:
    """List the public names, those that are not yet imported too."""
    return __all__


def __getattr__(name: str) -> Any:
    """Import what a name needs when it is first asked for: torch comes with the refiner alone."""
    if name not in __all__:
        raise AttributeError(f"module 'posefix' has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "posefix.formats.memory")), name)
