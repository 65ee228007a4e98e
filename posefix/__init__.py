"""PoseFix: refine human poses, whatever estimator they come from.

Example::

    from posefix import Refiner

    refiner = Refiner.from_pretrained()
    better = refiner(image, keypoints)  # (H, W, 3) uint8 RGB and (N, 17, 3) x, y, score

Results of pose libraries need no such array (``docs/in_memory.md``)::

    keypoints = posefix.to_supervision(refiner(image, posefix.from_supervision(keypoints)), keypoints)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from posefix.core.errors import InputError
from posefix.core.people import People
from posefix.core.skeleton import Skeleton

if TYPE_CHECKING:
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
    from posefix.refine.refiner import Refiner
    from posefix.refine.settings import RefineSettings

__version__ = "0.1.0"
__all__ = [
    "InputError",
    "People",
    "RefineSettings",
    "Refiner",
    "Skeleton",
    "__version__",
    "from_mediapipe",
    "from_rtmlib",
    "from_supervision",
    "from_transformers",
    "from_ultralytics",
    "to_mediapipe",
    "to_rtmlib",
    "to_supervision",
    "to_transformers",
    "to_ultralytics",
]


def __getattr__(name: str) -> Any:
    """Import the refiner, and torch with it, when it is first asked for; so, too, what converts libraries' objects."""
    if name == "Refiner":
        from posefix.refine.refiner import Refiner

        return Refiner
    if name == "RefineSettings":
        from posefix.refine.settings import RefineSettings

        return RefineSettings
    if name in __all__:
        from posefix.formats import memory

        return getattr(memory, name)
    raise AttributeError(f"module 'posefix' has no attribute {name!r}")
