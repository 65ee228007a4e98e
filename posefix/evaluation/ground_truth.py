"""Ground truth: the annotated people of a COCO file, parsed once, for everything that measures."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pycocotools.coco import COCO
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError
from pydantic_core import PydanticCustomError

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.files import read_json
from posefix.core.people import People
from posefix.core.skeleton import Skeleton, load
from posefix.formats.coco import ImageRecord, read_images
from posefix.formats.records import is_image_id

_UNREAD = frozenset({"segmentation", "caption"})  # most of a file's memory, and not about keypoints


def quietly() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which pycocotools' progress lines go nowhere."""
    return contextlib.redirect_stdout(io.StringIO())


def _whole(value: int | float) -> int:
    if not is_image_id(value):
        raise PydanticCustomError("id", "must be a whole number of 64 bits")
    return int(value)


_ImageId = Annotated[Any, AfterValidator(_whole)]


class _Image(BaseModel):
    id: _ImageId


class _Category(BaseModel):
    id: StrictInt | StrictStr
    name: Any = None


class _Annotation(BaseModel):
    """What evaluation reads of one annotation; fields that are null are as if left out."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    id: int
    image_id: _ImageId
    category_id: int | float | str | None = None
    keypoints: list[float] | None = None
    num_keypoints: int | None = None
    iscrowd: Literal[0, 1] | None = None
    bbox: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    area: float | None = None

    def completed(self, keypoint_count: int, name: str) -> dict[str, Any]:
        """Return the fields that COCOeval reads, those that are left out with their plain meaning."""
        values = np.array(self.keypoints or [0.0] * 3 * keypoint_count)
        if len(values) != 3 * keypoint_count:
            raise InputError(
                f"{name}: annotation {self.id!r}: {len(values)} numbers in 'keypoints', expected {3 * keypoint_count} "
                f"(x, y, visibility of {keypoint_count} keypoints)"
            )
        points = values.reshape(-1, 3)
        labelled = points[points[:, 2] > 0, :2]
        box = self.bbox
        if box is None:
            low, high = (labelled.min(0), labelled.max(0)) if len(labelled) else (np.zeros(2), np.zeros(2))
            box = [*low.tolist(), *(high - low).tolist()]
        return {
            "image_id": self.image_id,
            "keypoints": values,
            "num_keypoints": len(labelled) if self.num_keypoints is None else self.num_keypoints,
            "iscrowd": self.iscrowd or 0,
            "bbox": box,
            "area": geometry.BOX_AREA_TO_AREA * box[2] * box[3] if self.area is None else self.area,
        }


class _Dataset(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = Field(min_length=1)


class GroundTruth:
    """Annotated people of one data set; made by :meth:`read` or :meth:`of_dataset`.

    Attributes:
        skeleton: what the K keypoints are.
        coco: the annotations as pycocotools' COCOeval reads them. It writes flags into them, which it sets anew in
            each evaluation; nothing else changes them.
        name: the file, for messages.
    """

    def __init__(
        self, images: list[Any], annotations: list[Any], categories: list[Any], skeleton: Skeleton, name: str
    ) -> None:
        self.skeleton, self.name = skeleton, name
        self.coco = COCO()
        self.coco.dataset = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        with quietly():
            self.coco.createIndex()

    @classmethod
    def read(cls, path: str | Path, skeleton: Skeleton | None = None) -> GroundTruth:
        """Read a COCO keypoint annotation file; see :meth:`of_dataset`."""
        return cls.of_dataset(read_json(path), skeleton, str(path))

    @classmethod
    def of_dataset(cls, dataset: Any, skeleton: Skeleton | None = None, name: str = "ground truth") -> GroundTruth:
        """Check the content of a COCO keypoint annotation file, which is not changed.

        Only the category ``person`` is kept where there is one. Fields that data sets other than COCO leave out get
        their plain meaning: ``iscrowd`` 0, ``num_keypoints`` counted, ``bbox`` around the keypoints, ``area`` 0.515 of
        the box's, no keypoints for a person without any.

        Args:
            dataset: an object with ``images``, ``annotations`` and ``categories``.
            skeleton: what the keypoints are; COCO-17 if not given.
            name: the file, for messages.

        Raises:
            InputError: when it is no such object, has no categories, two people have the same id, or an image, a
                category or an annotation is malformed; names the file and the annotation.
        """
        skeleton = skeleton or load("coco17")
        if not isinstance(dataset, Mapping):
            found = type(dataset).__name__
            raise InputError(f"{name}: a COCO annotation file holds an object with images, annotations, not a {found}")
        try:
            content = _Dataset.model_validate(dataset)
        except ValidationError as error:
            raise InputError(f"{name}: {_sentence(error, dataset)}") from None
        persons = [c for c in content.categories if c.name == "person"] or content.categories
        kept = {category.id for category in persons}
        if len({isinstance(category, str) for category in kept}) > 1:
            raise InputError(f"{name}: some categories have numbers as ids, others strings; use one kind")
        people = [
            (raw, a)
            for raw, a in zip(dataset["annotations"], content.annotations, strict=True)
            if a.category_id in kept
        ]
        repeated, count = Counter(a.id for _, a in people).most_common(1)[0] if people else (0, 1)
        if count > 1:
            raise InputError(f"{name}: {count} annotations have the id {repeated}; ids must be unique")
        if people and not any("keypoints" in raw for raw, _ in people):
            raise InputError(f"{name}: no annotation has keypoints; give a file like person_keypoints_val2017.json")
        complete = [
            {key: value for key, value in raw.items() if key not in _UNREAD} | a.completed(len(skeleton), name)
            for raw, a in people
        ]
        categories = [raw for raw in dataset["categories"] if raw["id"] in kept]
        return cls(dataset["images"], complete, categories, skeleton, name)

    @cached_property
    def image_ids(self) -> np.ndarray:
        """(I,) int64 ids of all images, ascending."""
        return np.sort(np.array(list(self.coco.imgs), np.int64))

    @cached_property
    def images(self) -> dict[int, ImageRecord]:
        """Name and size of every image by its id; raises InputError where an image has no ``file_name``."""
        return read_images(self.name, self.coco.dataset)

    @cached_property
    def people(self) -> People:
        """All people with annotated keypoints, without crowds, on the listed images.

        ``scores`` are visibility flags, ``areas`` are known, ``extra`` holds the annotations.
        """
        annotations = [
            a
            for a in self.coco.dataset["annotations"]
            if a["num_keypoints"] > 0 and not a["iscrowd"] and a["image_id"] in self.coco.imgs
        ]
        triples = np.array([a["keypoints"] for a in annotations], np.float64).reshape(-1, len(self.skeleton), 3)
        return People(
            self.skeleton,
            triples[..., :2],
            triples[..., 2],
            np.array([a["image_id"] for a in annotations], np.int64),
            boxes=np.array([a["bbox"] for a in annotations], np.float32),
            areas=np.array([a["area"] for a in annotations], np.float32),
            extra=annotations,
        )

    def on_images(self, image_ids: Iterable[int]) -> GroundTruth:
        """Return the ground truth of some images alone.

        Raises:
            InputError: when an image is not among the images.
        """
        wanted = dict.fromkeys(image_ids)
        if missing := [i for i in wanted if i not in self.coco.imgs]:
            first = ", ".join(map(str, missing[:5]))
            raise InputError(f"{len(missing)} of the images to evaluate are not in the annotations; the first: {first}")
        annotations = [a for a in self.coco.dataset["annotations"] if a["image_id"] in wanted]
        return self._with([self.coco.imgs[i] for i in wanted], annotations)

    def ignoring(self, annotation_ids: set[int]) -> GroundTruth:
        """Return the ground truth with some people neither to be found nor counted as wrongly found."""
        annotations = [
            {**a, "num_keypoints": 0} if a["id"] in annotation_ids else a for a in self.coco.dataset["annotations"]
        ]
        return self._with(self.coco.dataset["images"], annotations)

    def _with(self, images: list[Any], annotations: list[Any]) -> GroundTruth:
        return GroundTruth(images, annotations, self.coco.dataset["categories"], self.skeleton, self.name)


def _sentence(error: ValidationError, dataset: Mapping[str, Any]) -> str:
    """Say in one sentence what is wrong first with the content of an annotation file, and where."""
    first = error.errors()[0]
    key, *place = (str(part) for part in first["loc"])
    where = f"'{key}'"
    if place:
        entry = dataset[key][int(place[0])]
        named = key == "annotations" and isinstance(entry, Mapping) and "id" in entry
        where = f"annotation {entry['id']!r:.40}" if named else f"entry {place[0]} of '{key}'"
        where += f": '{place[1]}'" if len(place) > 1 else ""
    found = "" if first["type"] == "missing" else f", found {first['input']!r:.40}"
    return f"{where}: {first['msg']}{found}; expected COCO annotations with images, annotations and categories"
