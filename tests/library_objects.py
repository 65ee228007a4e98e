"""Objects as pose libraries give them: stand-ins that follow the real classes, and the real ones where installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch

import posefix
from posefix.core.people import People

WIDTH, HEIGHT = 256, 128
# mediapipe.tasks.python.vision.PoseLandmark, in its order
# fmt: off
LANDMARKS = [
    "NOSE", "LEFT_EYE_INNER", "LEFT_EYE", "LEFT_EYE_OUTER", "RIGHT_EYE_INNER", "RIGHT_EYE", "RIGHT_EYE_OUTER",
    "LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT", "LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW",
    "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST", "LEFT_PINKY", "RIGHT_PINKY", "LEFT_INDEX", "RIGHT_INDEX",
    "LEFT_THUMB", "RIGHT_THUMB", "LEFT_HIP", "RIGHT_HIP", "LEFT_KNEE", "RIGHT_KNEE", "LEFT_ANKLE", "RIGHT_ANKLE",
    "LEFT_HEEL", "RIGHT_HEEL", "LEFT_FOOT_INDEX", "RIGHT_FOOT_INDEX",
]
# fmt: on


@dataclass(init=False)
class KeyPoints:
    """supervision 0.31.2, key_points/core.py."""

    xy: np.ndarray
    class_id: np.ndarray | None = None
    keypoint_confidence: np.ndarray | None = None
    detection_confidence: np.ndarray | None = None
    visible: np.ndarray | None = None
    data: dict = field(default_factory=dict)

    def __init__(
        self, xy, class_id=None, keypoint_confidence=None, detection_confidence=None, visible=None, data=None
    ) -> None:
        self.xy, self.class_id, self.keypoint_confidence = xy, class_id, keypoint_confidence
        self.detection_confidence, self.visible, self.data = detection_confidence, visible, data or {}

    @property
    def confidence(self) -> np.ndarray | None:
        warnings.warn("'KeyPoints.confidence' is deprecated since 0.29.0", DeprecationWarning, stacklevel=2)
        return self.keypoint_confidence


@dataclass
class OldKeyPoints:
    """supervision 0.25.1, keypoint/core.py."""

    xy: np.ndarray
    class_id: np.ndarray | None = None
    confidence: np.ndarray | None = None
    data: dict = field(default_factory=dict)


class SimpleClass:
    """ultralytics 8.4.190, utils/__init__.py."""

    def __getattr__(self, attr: str) -> Any:
        raise AttributeError(f"'{self.__class__.__name__}' object has no attribute '{attr}'")


class BaseTensor(SimpleClass):
    """ultralytics 8.4.190, engine/results.py."""

    def __init__(self, data: torch.Tensor | np.ndarray, orig_shape: tuple[int, int]) -> None:
        assert isinstance(data, (torch.Tensor, np.ndarray)), "data must be torch.Tensor or np.ndarray"
        self.data = data
        self.orig_shape = orig_shape


class Boxes(BaseTensor):
    xyxy = property(lambda self: self.data[:, :4])
    conf = property(lambda self: self.data[:, -2])


class Keypoints(BaseTensor):
    def __init__(self, keypoints: torch.Tensor | np.ndarray, orig_shape: tuple[int, int]) -> None:
        if keypoints.ndim == 2:
            keypoints = keypoints[None, :]
        super().__init__(keypoints, orig_shape)
        self.has_visible = self.data.shape[-1] == 3

    @cached_property
    def xy(self) -> torch.Tensor | np.ndarray:
        return self.data[..., :2]


class Results(SimpleClass):
    def __init__(self, orig_img: np.ndarray, path: str, names: dict, boxes=None, keypoints=None) -> None:
        self.orig_img = orig_img
        self.orig_shape = orig_img.shape[:2]
        self.boxes = Boxes(boxes, self.orig_shape) if boxes is not None else None
        self.keypoints = Keypoints(keypoints, self.orig_shape) if keypoints is not None else None
        self.speed = {"preprocess": None, "inference": None, "postprocess": None}
        self.names = names
        self.path = path
        self.save_dir = None
        self._keys = "boxes", "masks", "probs", "keypoints", "obb"

    def plot(self) -> np.ndarray:
        return self.orig_img.copy()


@dataclass
class NormalizedLandmark:
    """mediapipe 1.2.2, tasks/python/components/containers/landmark.py."""

    x: float | None = None
    y: float | None = None
    z: float | None = None
    visibility: float | None = None
    presence: float | None = None
    name: str | None = None


@dataclass
class PoseLandmarkerResult:
    """mediapipe 1.2.2, tasks/python/vision/pose_landmarker.py."""

    pose_landmarks: list
    pose_world_landmarks: list
    segmentation_masks: list | None = None


@dataclass
class HolisticLandmarkerResult:
    """mediapipe 1.2.2, tasks/python/vision/holistic_landmarker.py."""

    face_landmarks: list
    pose_landmarks: list
    pose_world_landmarks: list


@dataclass(frozen=True)
class Library:
    """One form of one library's objects.

    Attributes:
        name: for test reports.
        counts: numbers of keypoints.
        make: ``(keypoints (N, K, 2), scores (N, K), boxes (N, 4) x1, y1, x2, y2) -> object``.
        take: the object's people.
        put: people back into the object.
        xy: (N, K, 2) pixels in the object.
        most: people that it can hold.
        without: what has no place in it, of ``"scores"``, ``"boxes"``, ``"person_scores"``.
    """

    name: str
    counts: tuple[int, ...]
    make: Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
    take: Callable[[Any], People]
    put: Callable[[People, Any], Any]
    xy: Callable[[Any], np.ndarray]
    most: int = 99
    without: tuple[str, ...] = ()


def _supervision(name: str, find: Callable[[], type], confidence: str = "keypoint_confidence", **more: Any) -> Library:
    def make(keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> Any:
        if not len(keypoints):
            return find()(np.empty((0, 0, 2), np.float32))  # as KeyPoints.empty() does
        fields = {confidence: scores.astype(np.float32), "class_id": np.arange(len(keypoints))}
        if confidence == "keypoint_confidence":
            fields["detection_confidence"] = scores.max(1, initial=0).astype(np.float32)
            fields["visible"] = scores > 0.5
        data = {"class_name": np.array(["person"] * len(keypoints))}
        return find()(keypoints.astype(more.get("dtype", np.float32)), data=data, **fields)

    without = ("boxes",) if confidence == "keypoint_confidence" else ("boxes", "person_scores")
    return Library(
        name,
        (17, 26, 33, 133),
        make,
        posefix.from_supervision,
        posefix.to_supervision,
        lambda o: o.xy.astype(float),
        without=without,
    )


def _ultralytics(name: str, find: Callable[[], type], convert: Callable[[torch.Tensor], Any], **more: Any) -> Library:
    def make(keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> Any:
        confidences = scores.max(1, initial=0)[:, None]
        rows = torch.from_numpy(np.concatenate([boxes, confidences, np.zeros((len(boxes), 1))], 1)).float()
        values = keypoints if "scores" in more.get("without", ()) else np.concatenate([keypoints, scores[..., None]], 2)
        tensors = {"boxes": convert(rows), "keypoints": convert(torch.from_numpy(values).float())}
        return find()(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "a.jpg", {0: "person"}, **tensors)

    return Library(
        name,
        (17, 133),
        make,
        posefix.from_ultralytics,
        posefix.to_ultralytics,
        lambda o: np.array(o.keypoints.xy.tolist()).reshape(*o.keypoints.data.shape[:2], 2),
        without=more.get("without", ()),
    )


def _landmarks(make: Callable[..., Any], xy: np.ndarray, scores: np.ndarray) -> list:
    scaled = xy / (WIDTH, HEIGHT)
    return [
        make(x=float(x), y=float(y), z=-0.25, visibility=float(s))
        for (x, y), s in zip(scaled.tolist(), scores.tolist(), strict=True)
    ]


def _pixels(landmarks: list) -> np.ndarray:
    rows = [[(one.x, one.y) for one in pose] for pose in landmarks]
    return np.array(rows, float).reshape(-1, 33, 2) * (WIDTH, HEIGHT)


def _tasks(name: str, find: Callable[[], tuple[type, type]]) -> Library:
    def make(keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> Any:
        result_class, landmark = find()
        poses = [_landmarks(landmark, *pair) for pair in zip(keypoints, scores, strict=True)]
        return result_class(poses, [_landmarks(landmark, xy / 99, s) for xy, s in zip(keypoints, scores, strict=True)])

    return _mediapipe(name, make, lambda o: _pixels(o.pose_landmarks))


def _holistic(keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> Any:
    pose = _landmarks(NormalizedLandmark, keypoints[0], scores[0]) if len(keypoints) else []
    return HolisticLandmarkerResult([NormalizedLandmark(0.5, 0.5, 0)], pose, [])


def _mediapipe(name: str, make: Callable, xy: Callable, most: int = 99) -> Library:
    size = (WIDTH, HEIGHT)
    return Library(
        name,
        (33,),
        make,
        lambda o: posefix.from_mediapipe(o, size),
        lambda people, o: posefix.to_mediapipe(people, o, size),
        xy,
        most,
        ("boxes", "person_scores"),
    )


def _rtmlib(name: str, dtype: type) -> Library:
    return Library(
        name,
        (17, 26, 133),
        lambda keypoints, scores, boxes: (keypoints.astype(dtype), scores.astype(np.float32)),
        lambda pair: posefix.from_rtmlib(*pair),
        lambda people, pair: posefix.to_rtmlib(people),
        lambda pair: pair[0].astype(float),
        without=("boxes", "person_scores"),
    )


def vitpose_bbox(box: np.ndarray) -> torch.Tensor:
    """A box x1, y1, x2, y2 as transformers 5.23.0 returns it: from the centre and the padded size over 200."""
    size = box[2:] - box[:2]
    size = np.maximum(size, size[::-1] * (192 / 256, 256 / 192))
    centre, scale = (box[:2] + box[2:]) / 2, size / 200 * 1.25
    return torch.tensor(np.concatenate([centre, scale + centre - 1]).astype(np.float32))


def _transformers(name: str, dtype: torch.dtype = torch.float32, threshold: float = -1) -> Library:
    def make(keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> Any:
        people = []
        for xy, confidences, box in zip(keypoints, scores, boxes, strict=True):
            kept = torch.from_numpy(np.flatnonzero(confidences > threshold))
            people.append(
                {
                    "keypoints": torch.tensor(xy, dtype=dtype)[kept],
                    "scores": torch.tensor(confidences, dtype=dtype)[kept],
                    "labels": kept,
                    "bbox": vitpose_bbox(box),
                }
            )
        return people

    def xy(people: Any) -> np.ndarray:
        k = 17 if all((p["labels"] < 17).all() for p in people) else 133
        found = np.zeros((len(people), k, 2))
        for row, person in enumerate(people):
            found[row, person["labels"].numpy()] = person["keypoints"].double().numpy()
        return found

    return Library(
        name,
        (17, 133),
        make,
        posefix.from_transformers,
        posefix.to_transformers,
        xy,
        without=("boxes", "person_scores"),
    )


def _real(path: str, *names: str) -> Callable[[], Any]:
    def find() -> Any:
        module = pytest.importorskip(path)
        found = tuple(getattr(module, name) for name in names)
        return found if len(found) > 1 else found[0]

    return find


def _real_tasks() -> tuple[type, type]:
    pytest.importorskip("mediapipe")
    vision = pytest.importorskip("mediapipe.tasks.python.vision")
    containers = pytest.importorskip("mediapipe.tasks.python.components.containers.landmark")
    return vision.PoseLandmarkerResult, containers.NormalizedLandmark


def _real_old_keypoints() -> type:
    keypoints = pytest.importorskip("supervision").KeyPoints
    if "confidence" not in keypoints.__dataclass_fields__:
        pytest.skip("a newer supervision")
    return keypoints


def _real_new_keypoints() -> type:
    keypoints = pytest.importorskip("supervision").KeyPoints
    if "keypoint_confidence" not in keypoints.__dataclass_fields__:
        pytest.skip("an older supervision")
    return keypoints


STAND_INS = (
    _supervision("supervision", lambda: KeyPoints),
    _supervision("supervision in float64", lambda: KeyPoints, dtype=np.float64),
    _supervision("supervision before 0.29", lambda: OldKeyPoints, "confidence"),
    _ultralytics("ultralytics", lambda: Results, lambda t: t),
    _ultralytics("ultralytics in numpy", lambda: Results, lambda t: t.numpy()),
    _ultralytics("ultralytics in half", lambda: Results, lambda t: t.half()),
    _ultralytics("ultralytics in bfloat16", lambda: Results, lambda t: t.bfloat16()),
    _ultralytics("ultralytics without scores", lambda: Results, lambda t: t, without=("scores",)),
    _tasks("mediapipe tasks", lambda: (PoseLandmarkerResult, NormalizedLandmark)),
    _mediapipe("mediapipe holistic", _holistic, lambda o: _pixels([o.pose_landmarks] if o.pose_landmarks else []), 1),
    _rtmlib("rtmlib", np.float64),
    _rtmlib("rtmlib in float32", np.float32),
    _transformers("transformers"),
    _transformers("transformers in float64", torch.float64),
    _transformers("transformers above a threshold", threshold=0.55),
)
REAL = (
    _supervision("real supervision", _real_new_keypoints),
    _supervision("real supervision before 0.29", _real_old_keypoints, "confidence"),
    _ultralytics("real ultralytics", _real("ultralytics.engine.results", "Results"), lambda t: t),
    _ultralytics("real ultralytics in numpy", _real("ultralytics.engine.results", "Results"), lambda t: t.numpy()),
    _tasks("real mediapipe tasks", _real_tasks),
)


def raw_bytes(scalar: torch.Tensor) -> list[int]:
    return scalar.reshape(1).view(torch.uint8).tolist()


def plain(value: Any) -> Any:
    """Any of the objects as data that compare equal only if they are equal to the last bit, types and all."""
    if isinstance(value, torch.Tensor):
        return "tensor", value.dtype, value.device, tuple(value.shape), [raw_bytes(one) for one in value.flatten()]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return [(key, plain(one)) for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [plain(one) for one in value]
    if hasattr(value, "__dict__"):
        cached = [name for name in vars(value) if isinstance(getattr(type(value), name, None), cached_property)]
        return type(value), [(name, plain(one)) for name, one in vars(value).items() if name not in cached]
    return type(value), repr(value)


def arrays(rng: np.random.Generator, count: int, people: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints, scores and boxes with numbers as networks give them."""
    keypoints = rng.uniform(1, 127, (people, count, 2))
    scores = rng.uniform(0.5, 1, (people, count))
    return keypoints, scores, np.concatenate([keypoints.min(1) - 5, keypoints.max(1) + 5], axis=1)
