"""Run MoveNet SinglePose, Lightning or Thunder, on annotated boxes: an estimator at hand to refine.

    python -m tools.experiments.run_movenet movenet-lightning.onnx --annotations truth.json --images photos \\
        --out results.json

The network sees each person's box, made square around its centre.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np
from rich.progress import track

from posefix import formats
from posefix.cli.options import PATH, friendly
from posefix.core import geometry
from posefix.core.files import read_bytes, require_outputs
from posefix.evaluation.ground_truth import GroundTruth
from posefix.media.images import ImageFolder


class MoveNet:
    """A single-person MoveNet from its ONNX file."""

    def __init__(self, model: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(read_bytes(model))
        self._input = self._session.get_inputs()[0]

    def __call__(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Return (17, 3) x, y in pixels and confidence of the person in a box (4,) xywh of an image (H, W, 3) RGB."""
        size = self._input.shape[1]
        scale = size / max(box[2:].max(), 1)
        to_crop = np.zeros((1, 2, 3))
        to_crop[0, :, :2] = scale * np.eye(2)
        to_crop[0, :, 2] = size / 2 - (box[:2] + box[2:] / 2) * scale
        crop = cv2.warpAffine(image, to_crop[0], (size, size), flags=cv2.INTER_LINEAR)
        output = self._session.run(None, {self._input.name: crop[None].astype(np.int32)})[0].reshape(1, -1, 3)
        keypoints = geometry.transform(output[..., 1::-1] * size, geometry.invert(to_crop))
        return np.concatenate([keypoints, output[..., 2:]], axis=-1)[0]


@click.command(help=__doc__.splitlines()[0])
@click.argument("model", type=PATH)
@click.option("--annotations", type=PATH, required=True, help="COCO ground truth with boxes.")
@click.option("--images", type=PATH, required=True, help="Folder of the images.")
@click.option("--out", type=PATH, required=True, help="Results file to write.")
@friendly
def main(model: Path, annotations: Path, images: Path, out: Path) -> None:
    """Write one result for each annotated person."""
    require_outputs([out], (model, annotations))
    truth = GroundTruth.read(annotations)
    folder, people = ImageFolder(images, truth.images), truth.people
    people = people[np.argsort(people.image_ids, kind="stable")]
    network = MoveNet(model)
    rows = track(range(len(people)), description="MoveNet")
    poses = np.array([network(folder[int(people.image_ids[row])], people.boxes[row].astype(float)) for row in rows])
    poses = poses.reshape(-1, len(truth.skeleton), 3)
    results = people.with_keypoints(poses[..., :2], poses[..., 2])
    formats.write(replace(results, person_scores=poses[..., 2].mean(1), extra=[]), out, "coco")
    click.echo(f"{out}: {len(people)} people")


if __name__ == "__main__":
    main()
