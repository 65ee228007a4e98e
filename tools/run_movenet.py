"""Run MoveNet SinglePose, Lightning or Thunder, on annotated boxes: an estimator at hand to refine.

python -m tools.run_movenet movenet-lightning.onnx --annotations truth.json --images photos --out results.json

The box of each person, made square around its centre, is what the network sees.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import cv2
import numpy as np
from rich.progress import track

from posefix.cli.options import friendly
from posefix.core import geometry
from posefix.core import skeleton as skeletons
from posefix.core.errors import InputError
from posefix.core.files import require_writable, write_atomically
from posefix.formats import coco
from posefix.media.images import ImageFolder


def square_map(box: np.ndarray, size: int) -> np.ndarray:
    """The (2, 3) map from image pixels to the network's for a box xywh (4,)."""
    x, y, w, h = box
    scale = size / max(w, h, 1.0)
    return np.array([[scale, 0, size / 2 - (x + w / 2) * scale], [0, scale, size / 2 - (y + h / 2) * scale]])


@click.command(help=__doc__.splitlines()[0])
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="COCO ground truth with boxes.")
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Folder of the images.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Results file to write.")
@friendly
def main(model: Path, annotations: Path, images: Path, out: Path) -> None:
    """Write one result for each annotated person."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError("running an ONNX file needs the onnxruntime package: pip install onnxruntime") from None
    require_writable(out)
    truth = coco.read_annotations(annotations, skeletons.load("coco17"))
    folder, people = ImageFolder(images, truth.images), truth.people
    try:
        session = onnxruntime.InferenceSession(str(model))
    except Exception as error:  # onnxruntime's own exceptions share no other base
        raise InputError(f"{model}: cannot be read as an ONNX graph ({str(error).splitlines()[0]})") from None
    name, size = session.get_inputs()[0].name, session.get_inputs()[0].shape[1]
    records = []
    for row in track(np.argsort(people.image_ids, kind="stable"), description="MoveNet"):
        matrix = square_map(people.boxes[row], size)
        crop = cv2.warpAffine(folder[int(people.image_ids[row])], matrix, (size, size), flags=cv2.INTER_LINEAR)
        found = session.run(None, {name: crop[None].astype(np.int32)})[0].reshape(-1, 3)
        points = geometry.transform((found[:, 1::-1] * size)[None], geometry.invert(matrix[None]))[0]
        triples = np.concatenate([points, found[:, 2:]], axis=1)
        records.append(
            {
                "image_id": int(people.image_ids[row]),
                "category_id": 1,
                "keypoints": [round(float(v), 3) for v in triples.ravel()],
                "score": round(float(found[:, 2].mean()), 5),
                "box_id": people.extra[row].get("id"),
            }
        )
    write_atomically(out, json.dumps(records) + "\n")
    click.echo(f"{out}: {len(records)} people")


if __name__ == "__main__":
    main()
