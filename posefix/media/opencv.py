"""Import OpenCV from whichever of its four packages is installed.

All of them install the same module and conflict with each other. Since many pose estimators already depend on one,
PoseFix does not require any particular one.
"""

from __future__ import annotations

from posefix.core.errors import InputError, how_to_install

try:
    import cv2
except ModuleNotFoundError:
    raise InputError(
        f"PoseFix needs OpenCV 4.8 or newer, and none is installed; {how_to_install('opencv')} (the one without "
        "windows, opencv-python-headless), or anywhere: pip install opencv-python"
    ) from None

__all__ = ["cv2"]
