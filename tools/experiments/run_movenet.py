"""Run MoveNet SinglePose, Lightning or Thunder, on annotated boxes: an estimator at hand to refine.

    python -m tools.experiments.run_movenet movenet-lightning.onnx --annotations truth.json --images photos \\
        --out results.json

The box of each person, made square around its centre, is what the network sees.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np
from rich.progress import track

from posefix import formats
from posefix.cli.options import PATH, friendly, require_output
from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.evaluation.ground_truth import GroundTruth
from posefix.media.images import ImageFolder


def square_map(box: np.ndarray, size: int) -> np.ndarray:
    """The (2, 3) map from image pixels to the network's for a box xywh (4,)."""
    x, y, w, h = box
    scale = size / max(w, h, 1.0)
    return np.array([[scale, 0, size / 2 - (x + w / 2) * scale], [0, scale, size / 2 - (y + h / 2) * scale]])


@click.command(help=__doc__.splitlines()[0])
@click.argument("model", type=PATH)
@click.option("--annotations", type=PATH, required=True, help="COCO ground truth with boxes.")
@click.option("--images", type=PATH, required=True, help="Folder of the images.")
@click.option("--out", type=PATH, required=True, help="Results file to write.")
@friendly
def main(model: Path, annotations: Path, images: Path, out: Path) -> None:
    """Write one result for each annotated person."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError("running an ONNX file needs the onnxruntime package: pip install onnxruntime") from None
    require_output(out, (model, annotations))
    truth = GroundTruth.read(annotations)
    folder, people = ImageFolder(images, truth.images), truth.people
    people = people[np.argsort(people.image_ids, kind="stable")]
    try:
        session = onnxruntime.InferenceSession(str(model))
    except Exception as error:  # onnxruntime's own exceptions share no other base
        raise InputError(f"{model}: cannot be read as an ONNX graph ({str(error).splitlines()[0]})") from None
    name, size = session.get_inputs()[0].name, session.get_inputs()[0].shape[1]
    found = np.zeros((len(people), len(truth.skeleton), 3))
    for row in track(range(len(people)), description="MoveNet"):
        matrix = square_map(people.boxes[row], size)
        crop = cv2.warpAffine(folder[int(people.image_ids[row])], matrix, (size, size), flags=cv2.INTER_LINEAR)
        seen = session.run(None, {name: crop[None].astype(np.int32)})[0].reshape(-1, 3)
        found[row, :, :2] = geometry.transform((seen[:, 1::-1] * size)[None], geometry.invert(matrix[None]))[0]
        found[row, :, 2] = seen[:, 2]
    results = people.with_keypoints(found[..., :2], found[..., 2])
    formats.write(replace(results, person_scores=found[..., 2].mean(1), extra=[]), out, "coco")
    click.echo(f"{out}: {len(people)} people")


if __name__ == "__main__":
    main()
