"""PoseFix: refine human poses, whatever estimator they come from.

Example::

    from posefix import Refiner

    refiner = Refiner.from_pretrained("posefix-small")
    better = refiner(image, keypoints)  # (H, W, 3) uint8 RGB and (N, 17, 3) x, y, score
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from posefix.errors import InputError
from posefix.people import People
from posefix.skeleton import Skeleton

if TYPE_CHECKING:
    from posefix.refiner import Refiner

__version__ = "0.1.0"
__all__ = ["InputError", "People", "Refiner", "Skeleton", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the refiner, and torch with it, when it is first asked for."""
    if name == "Refiner":
        from posefix.refiner import Refiner

        return Refiner
    raise AttributeError(f"module 'posefix' has no attribute {name!r}")
