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
from posefix.core.files import read_bytes
from posefix.evaluation.ground_truth import GroundTruth
from posefix.media.images import ImageFolder


@click.command(help=__doc__.splitlines()[0])
@click.argument("model", type=PATH)
@click.option("--annotations", type=PATH, required=True, help="COCO ground truth with boxes.")
@click.option("--images", type=PATH, required=True, help="Folder of the images.")
@click.option("--out", type=PATH, required=True, help="Results file to write.")
@friendly
def main(model: Path, annotations: Path, images: Path, out: Path) -> None:
    """Write one result for each annotated person."""
    import onnxruntime

    require_output(out, (model, annotations))
    truth = GroundTruth.read(annotations)
    folder, people = ImageFolder(images, truth.images), truth.people
    people = people[np.argsort(people.image_ids, kind="stable")]
    session = onnxruntime.InferenceSession(read_bytes(model))
    name, size = session.get_inputs()[0].name, session.get_inputs()[0].shape[1]
    scales = size / np.maximum(people.boxes[:, 2:].max(1), 1)
    centres = people.boxes[:, :2] + people.boxes[:, 2:] / 2
    maps = np.zeros((len(people), 2, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = scales
    maps[..., 2] = size / 2 - centres * scales[:, None]
    seen = np.zeros((len(people), len(truth.skeleton), 3))  # y, x in [0, 1], confidence
    for row in track(range(len(people)), description="MoveNet"):
        crop = cv2.warpAffine(folder[int(people.image_ids[row])], maps[row], (size, size), flags=cv2.INTER_LINEAR)
        seen[row] = session.run(None, {name: crop[None].astype(np.int32)})[0].reshape(-1, 3)
    found, scores = geometry.transform(seen[..., 1::-1] * size, geometry.invert(maps)), seen[..., 2]
    results = replace(people.with_keypoints(found, scores), person_scores=scores.mean(1), extra=[])
    formats.write(results, out, "coco")
    click.echo(f"{out}: {len(people)} people")


if __name__ == "__main__":
    main()
