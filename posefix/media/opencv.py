"""OpenCV, from whichever of its four packages is installed.

They all install the same module, and two of them side by side break each other. Many pose estimators bring one, so
PoseFix depends on none by itself and takes what is there.
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
