"""OpenCV, from whichever of its four packages is installed.

They all install the same module, and two of them side by side break each other. Many pose estimators bring one, so
PoseFix depends on none by itself and takes what is there.
"""

from __future__ import annotations

from posefix.core.errors import InputError

try:
    import cv2
except ModuleNotFoundError:
    raise InputError(
        "PoseFix needs OpenCV 4.8 or newer, and none is installed: pip install 'posefix[opencv]' for the one without "
        "windows (opencv-python-headless), or pip install opencv-python"
    ) from None

__all__ = ["cv2"]
