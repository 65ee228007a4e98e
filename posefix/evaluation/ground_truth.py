"""Ground truth: the annotated people of a COCO file."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from pycocotools.coco import COCO

from posefix import formats
from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.files import first_repeated, read_json
from posefix.core.people import People, require_shared
from posefix.core.skeleton import Skeleton, load
from posefix.formats import ImageIndex
from posefix.formats.coco import ImageRecord, read_images
from posefix.formats.records import track_id_of

MANY_UNCOVERED = 0.2  # share of annotated images without results from which on it is reported
_UNREAD = frozenset({"segmentation", "caption"})  # unused fields that take most of the memory
_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


def quietly() -> contextlib.AbstractContextManager[Any]:
    """Return a context that suppresses pycocotools' progress output."""
    return contextlib.redirect_stdout(io.StringIO())


class _Image(msgspec.Struct):
    id: _Id


class _Category(msgspec.Struct):
    id: int
    name: Any = None


class _Annotation(msgspec.Struct):
    """The fields of an annotation that evaluation reads; null means absent."""

    id: int
    image_id: _Id
    category_id: int | None = None
    keypoints: list[float] | None = None
    num_keypoints: int | None = None
    iscrowd: Literal[0, 1] | None = None
    bbox: tuple[float, float, float, float] | None = None
    area: float | None = None

    def completed(self, keypoint_count: int, name: str) -> dict[str, Any]:
        """Return the fields that COCOeval reads, with defaults for absent ones."""
        values = np.array(self.keypoints or [0.0] * 3 * keypoint_count)
        if len(values) != 3 * keypoint_count:
            raise InputError(
                f"{name}: annotation {self.id}: {len(values)} numbers in 'keypoints', expected {3 * keypoint_count} "
                f"(x, y, visibility of {keypoint_count} keypoints); posefix evaluate --skeleton takes other skeletons"
            )
        points = values.reshape(-1, 3)
        labelled = points[points[:, 2] > 0, :2]
        extent = labelled if len(labelled) else np.zeros((1, 2))
        box = self.bbox or (*extent.min(0).tolist(), *np.ptp(extent, axis=0).tolist())
        area = geometry.BOX_AREA_TO_AREA * box[2] * box[3] if self.area is None else self.area
        if not np.isfinite([*values, *box, area]).all():
            raise InputError(f"{name}: annotation {self.id}: keypoints, bbox and area must be finite numbers")
        return {
            "image_id": self.image_id,
            "keypoints": values,
            "num_keypoints": len(labelled) if self.num_keypoints is None else self.num_keypoints,
            "iscrowd": self.iscrowd or 0,
            "bbox": box,
            "area": area,
        }


class _Dataset(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: Annotated[list[_Category], msgspec.Meta(min_length=1)]


class GroundTruth:
    """Annotated people of one data set; created by :meth:`read` or :meth:`of_dataset`.

    Attributes:
        skeleton: of the K keypoints.
        coco: the annotations for pycocotools' COCOeval, which writes flags into them that each evaluation resets;
            nothing else changes them.
        name: the file, for messages.
    """

    def __init__(self, dataset: dict[str, list[Any]], skeleton: Skeleton, name: str) -> None:
        self.skeleton, self.name = skeleton, name
        self.coco = COCO()
        self.coco.dataset = dataset
        with quietly():
            self.coco.createIndex()

    @classmethod
    def read(cls, path: str | Path, skeleton: Skeleton | None = None) -> GroundTruth:
        """Read a COCO keypoint annotation file; see :meth:`of_dataset`."""
        return cls.of_dataset(read_json(path), skeleton, str(path))

    @classmethod
    def of_dataset(cls, dataset: Any, skeleton: Skeleton | None = None, name: str = "ground truth") -> GroundTruth:
        """Create ground truth from the content of a COCO keypoint annotation file, which is not modified.

        Only the category ``person`` is kept if there is one. Absent fields get defaults: ``iscrowd`` 0,
        ``num_keypoints`` counted, ``bbox`` the extent of the keypoints, ``area`` 0.515 of the box area, ``keypoints``
        none annotated.

        Args:
            dataset: an object with ``images``, ``annotations`` and ``categories``.
            skeleton: of the keypoints; COCO-17 by default.
            name: the file, for messages.

        Raises:
            InputError: when it is no such object, has no categories, two people have the same id, or an image, a
                category or an annotation is malformed; names the file and the annotation.
        """
        skeleton = skeleton or load("coco17")
        try:
            content = msgspec.convert(dataset, _Dataset)
        except msgspec.ValidationError as error:
            problem = str(error).replace("`$.", "`")
            raise InputError(
                f"{name}: {problem}; expected COCO's object of images, annotations and categories"
            ) from None
        persons = [c for c in content.categories if c.name == "person"] or content.categories
        kept = {category.id for category in persons}
        annotations = zip(dataset["annotations"], content.annotations, strict=True)
        people = [(raw, a) for raw, a in annotations if a.category_id in kept]
        if (repeated := first_repeated(a.id for _, a in people)) is not None:
            raise InputError(f"{name}: several annotations have the id {repeated}; ids must be unique")
        if people and not any("keypoints" in raw for raw, _ in people):
            raise InputError(f"{name}: no annotation has keypoints; give a file like person_keypoints_val2017.json")
        completed_annotations = [
            {key: value for key, value in raw.items() if key not in _UNREAD} | a.completed(len(skeleton), name)
            for raw, a in people
        ]
        categories = [raw for raw in dataset["categories"] if raw["id"] in kept]
        completed = {"images": dataset["images"], "annotations": completed_annotations, "categories": categories}
        return cls(completed, skeleton, name)

    @cached_property
    def image_ids(self) -> np.ndarray:
        """Ids (I,) int64 of all images, ascending."""
        return np.sort(np.array(list(self.coco.imgs), np.int64))

    @cached_property
    def images(self) -> dict[int, ImageRecord]:
        """Names and sizes of the images by id; raises InputError if an image has no ``file_name``."""
        return read_images(self.name, self.coco.dataset)

    def frames(self) -> ImageIndex:
        """Index the images as frames of a video, whose numbers are the ids; InputError for malformed images."""
        images = self.coco.dataset["images"]
        named = all(image.get("file_name") for image in images)
        size = next(((image.get("width") or 0, image.get("height") or 0) for image in images), (0, 0))
        return ImageIndex(self.images if named else {}, self.name, video=size, frames=True)

    @cached_property
    def people(self) -> People:
        """All people with annotated keypoints on the listed images, without crowds.

        ``scores`` are visibility flags; ``extra`` holds the annotations.
        """
        annotations = [
            a
            for a in self.coco.dataset["annotations"]
            if a["num_keypoints"] > 0 and not a["iscrowd"] and a["image_id"] in self.coco.imgs
        ]
        keypoints = np.array([a["keypoints"] for a in annotations], np.float64).reshape(-1, len(self.skeleton), 3)
        return People(
            self.skeleton,
            keypoints[..., :2],
            keypoints[..., 2],
            np.array([a["image_id"] for a in annotations], np.int64),
            boxes=np.array([a["bbox"] for a in annotations], np.float32),
            areas=np.array([a["area"] for a in annotations], np.float32),
            track_ids=np.array([track_id_of(a.get("track_id")) for a in annotations], np.int64),
            extra=annotations,
        )

    @property
    def unlisted_annotations(self) -> int:
        """Number of annotated people on images that are not listed, which are ignored, as in COCOeval."""
        return sum(a["image_id"] not in self.coco.imgs for a in self.coco.dataset["annotations"])

    def on_images(self, image_ids: Iterable[int]) -> GroundTruth:
        """Restrict the ground truth to some images; InputError when one is not listed."""
        wanted = dict.fromkeys(image_ids)
        if missing := [i for i in wanted if i not in self.coco.imgs]:
            first = ", ".join(map(str, missing[:5]))
            raise InputError(f"{len(missing)} of the images to evaluate are not in the annotations; the first: {first}")
        annotations = [a for a in self.coco.dataset["annotations"] if a["image_id"] in wanted]
        return self._with(images=[self.coco.imgs[i] for i in wanted], annotations=annotations)

    def ignoring(self, annotation_ids: set[int]) -> GroundTruth:
        """Return the ground truth with some people ignored: neither false negatives nor false positives."""
        annotations = self.coco.dataset["annotations"]
        return self._with(
            annotations=[{**a, "num_keypoints": 0} if a["id"] in annotation_ids else a for a in annotations]
        )

    def _with(self, **changed: list[Any]) -> GroundTruth:
        return GroundTruth({**self.coco.dataset, **changed}, self.skeleton, self.name)


def read_results(path: Path, truth: GroundTruth, format: str = "auto", frames: bool = False) -> People:
    """Read results of any format in the ground truth's skeleton; people without a keypoint in it are dropped.

    The images may be ``frames`` of a video: names in the results can then refer to their numbers.

    Raises:
        InputError: the file cannot be used, its skeleton shares no keypoint with the ground truth's, or none of its
            results is on a listed image.
    """
    skeleton = truth.skeleton
    index = truth.frames if frames else lambda: ImageIndex(truth.images, truth.name)
    people = formats.read(path, format, default=skeleton, images=index)
    require_shared(people, skeleton, f"{path}: measured are")
    people = people[formats.refinable(people, skeleton)].to_skeleton(skeleton)
    if len(people) and unlisted(people, truth) == len(people):
        listed = [*map(str, truth.image_ids[:3]), *(["..."] if len(truth.image_ids) > 3 else [])]
        raise InputError(
            f"{path}: none of the {len(people)} results is of an image that {truth.name} lists; the first is of "
            f"image_id {people.image_ids[0]}, the annotations list {', '.join(listed) or 'no image'}"
        )
    return people


def unlisted(people: People, truth: GroundTruth) -> int:
    """Count the results on images that the ground truth does not list, which are not evaluated."""
    return int((~np.isin(people.image_ids, truth.image_ids)).sum())


def uncovered(people: People, truth: GroundTruth) -> int:
    """Count the images with annotated people but without results, if they are many: their people count as missed."""
    annotated = np.unique(truth.people.image_ids)
    count = int((~np.isin(annotated, people.image_ids)).sum())
    return count if count > MANY_UNCOVERED * len(annotated) else 0
