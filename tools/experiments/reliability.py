"""Draw reliability diagrams: expected against true similarity of keypoints, and expected against true OKS of people.

    python -m tools.experiments.reliability --data $POSEFIX_DATA/coco --checkpoint posefix-base --out reliability.png

The people are those of the tenth of the training images that the recipes of the shipped weights hold out, with the
results of every estimator in ``results/train``. What is expected of a keypoint is its new score
(``--keypoint_scores``), whose truth is its similarity, or 0 where it is not annotated; of a person the OKS.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from posefix import formats
from posefix.cli.options import CHECKPOINT, PATH, friendly
from posefix.core.files import require_outputs
from posefix.evaluation.ground_truth import GroundTruth
from posefix.evaluation.matching import keypoint_similarity, match_people, oks
from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.training.config import Fold

HELD_OUT = Fold(index=0, of=10)
BINS = np.linspace(0, 1, 11)


def calibration(expected: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Mean of both (B,) and count (B,) in each occupied bin of the expectation, and the expected calibration error."""
    place = np.clip(np.digitize(expected, BINS) - 1, 0, len(BINS) - 2)
    count = np.bincount(place, minlength=len(BINS) - 1)
    used = count > 0
    means = [np.bincount(place, values, len(BINS) - 1)[used] / count[used] for values in (expected, true)]
    return *means, count[used], float((count[used] * np.abs(means[0] - means[1])).sum() / count.sum())


@click.command()
@click.option("--data", type=PATH, required=True, help="Folder of a data set with results on its training images.")
@CHECKPOINT
@click.option("--out", type=PATH, required=True, help="Picture to write.")
@friendly
def main(data: Path, checkpoint: str, out: Path) -> None:
    """Refine the held-out people, print the calibration errors and draw the diagrams."""
    from matplotlib import pyplot

    require_outputs([out])
    refiner = Refiner.from_pretrained(checkpoint)
    truth = GroundTruth.read(data / "annotations/person_keypoints_train.json", refiner.skeleton)
    images, held_out = ImageFolder(data / "train", truth.images), HELD_OUT.images(truth.image_ids)
    annotated = truth.people[np.isin(truth.people.image_ids, held_out)]
    parts = []
    for path in sorted((data / "results/train").glob("*.json")):
        given = formats.read(path)
        given = given[np.isin(given.image_ids, held_out)]
        matched = match_people(annotated, given)
        people, true = given[matched[matched >= 0]], annotated[matched >= 0]
        for batch in refiner.refine_batches(people, images, RefineSettings(keypoint_scores=True)):
            own = true[batch.rows]
            similarity = keypoint_similarity(batch.keypoints, own.keypoints, own.areas, refiner.skeleton.sigmas)
            reached = oks(batch.keypoints, own.keypoints, own.labelled, own.areas, refiner.skeleton.sigmas)
            similarity = np.where(own.labelled, similarity, 0)
            parts.append((batch.keypoint_scores.ravel(), similarity.ravel(), batch.expected, reached))
    columns = [np.concatenate(part) for part in zip(*parts, strict=True)]
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 4), layout="constrained")
    for axis, title, x, y in zip(axes, ("keypoints", "people (OKS)"), columns[::2], columns[1::2], strict=True):
        means, trues, counts, error = calibration(x, y)
        axis.plot([0, 1], [0, 1], color="0.8")
        axis.plot(means, trues, marker="o")
        axis.set(title=f"{title}: {len(x):,}, error {error:.3f}", xlabel="expected", ylabel="true")
        click.echo(f"{title}: {len(x):,}, expected calibration error {error:.3f}, in bins of {counts.tolist()}")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
