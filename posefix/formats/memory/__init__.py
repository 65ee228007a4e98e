"""People from the objects of pose libraries and back, without a file in between.

    keypoints = posefix.to_supervision(refiner(image, posefix.from_supervision(keypoints)), keypoints)

One module for each library. None of the libraries is imported: objects are recognised by their attributes. All people
get image id 0, and boxes and scores of people where the library has them; else a person's score is the mean of the
keypoints'. A keypoint at (0, 0), one that is not finite and one without any confidence has score 0 in
:class:`~posefix.People`: there is no estimate. Each ``to_...`` gives a new object like the one that the people came
from, in which only keypoints that moved differ; it raises :class:`~posefix.InputError` if the people are others.
"""

from posefix.formats.memory.mediapipe import from_mediapipe, to_mediapipe
from posefix.formats.memory.rtmlib import from_rtmlib, to_rtmlib
from posefix.formats.memory.supervision import from_supervision, to_supervision
from posefix.formats.memory.transformers import from_transformers, to_transformers
from posefix.formats.memory.ultralytics import from_ultralytics, to_ultralytics

__all__ = [
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
