"""Draw reliability diagrams: expected against true similarity of keypoints, and expected against true OKS of people.

    python -m tools.experiments.reliability --data $POSEFIX_DATA/coco --checkpoint posefix-base --out reliability.png

People are those of the tenth of the training images that the shipped weights did not see, with the results of every
estimator in ``results/train``. A keypoint's expectation is its new score (``--keypoint_scores``), its truth the
similarity, or 0 if it is not annotated; for people both are OKS.
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
    """Return both means (B,) and the count (B,) in each occupied bin, and the expected calibration error."""
    bins = np.clip(np.digitize(expected, BINS) - 1, 0, len(BINS) - 2)
    count = np.bincount(bins, minlength=len(BINS) - 1)
    occupied = count > 0
    means = [np.bincount(bins, values, len(BINS) - 1)[occupied] / count[occupied] for values in (expected, true)]
    return *means, count[occupied], float((count[occupied] * np.abs(means[0] - means[1])).sum() / count.sum())


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
    samples = []
    for path in sorted((data / "results/train").glob("*.json")):
        results = formats.read(path)
        results = results[np.isin(results.image_ids, held_out)]
        matched = match_people(annotated, results)
        inputs, targets = results[matched[matched >= 0]], annotated[matched >= 0]
        for batch in refiner.refine_batches(inputs, images, RefineSettings(keypoint_scores=True)):
            labels = targets[batch.rows]
            similarity = keypoint_similarity(batch.keypoints, labels.keypoints, labels.areas, refiner.skeleton.sigmas)
            person_oks = oks(batch.keypoints, labels.keypoints, labels.labelled, labels.areas, refiner.skeleton.sigmas)
            similarity = np.where(labels.labelled, similarity, 0)
            samples.append((batch.keypoint_scores.ravel(), similarity.ravel(), batch.expected, person_oks))
    columns = [np.concatenate(column) for column in zip(*samples, strict=True)]
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 4), layout="constrained")
    for axis, title, x, y in zip(axes, ("keypoints", "people (OKS)"), columns[::2], columns[1::2], strict=True):
        means, true_means, counts, error = calibration(x, y)
        axis.plot([0, 1], [0, 1], color="0.8")
        axis.plot(means, true_means, marker="o")
        axis.set(title=f"{title}: {len(x):,}, error {error:.3f}", xlabel="expected", ylabel="true")
        click.echo(f"{title}: {len(x):,}, expected calibration error {error:.3f}, in bins of {counts.tolist()}")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
