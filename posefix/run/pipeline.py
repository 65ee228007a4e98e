"""From files to files: read results and images, refine, write, measure, draw."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.extras import require
from posefix.core.files import make_folder, require_new_folder, require_writable
from posefix.core.people import People
from posefix.core.skeleton import Skeleton, load
from posefix.evaluation.coco import evaluate
from posefix.evaluation.comparison import compare
from posefix.evaluation.diagnosis import annotated_people
from posefix.evaluation.ground_truth import load_ground_truth
from posefix.formats import ImageIndex, coco
from posefix.media.images import ImageFolder
from posefix.media.video import VideoImages
from posefix.models import checkpoint as checkpoints
from posefix.refine.batches import Refinement
from posefix.refine.refiner import Refiner
from posefix.refine.rescoring import was_rescored
from posefix.refine.settings import RefineSettings
from posefix.report.pictures import INDEX, write_pictures
from posefix.report.video import write_comparison
from posefix.run.journal import SUFFIX, Journal, fingerprint

BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class RefineOptions:
    """What to refine and where to put it; the options of ``test.py``."""

    detection_json: Path
    images: Path | None = None
    video: Path | None = None
    annotations: Path | None = None
    checkpoint: str = checkpoints.DEFAULT
    batch_size: int = 64
    flip_test: bool = True
    out: Path | None = None
    device: str | None = None
    engine: str = "auto"
    workers: int = 2
    on_error: coco.OnError = "stop"
    resume: bool = False
    metrics: Path | None = None
    visualize: Path | None = None
    report: Path | None = None
    rescore: bool = True
    keypoint_scores: bool = False
    passes: int = 1
    format: str = "auto"
    skeleton: str | None = None


@dataclass(frozen=True)
class Refined:
    """A refined file.

    Attributes:
        results: what was read, as COCO's results.
        people: ``results.people``, refined, as the written file has them.
        images: where the pixels came from.
        truth: the ground truth in ``options.annotations``, if it names any.
        problems: a sentence for each record or person handed through untouched.
        people_refined: how many people this run refined (a resumed run: without those of the run before).
        contradicted_boxes: how many people have a box that is not where their pose is, or far larger.
        seconds: how long that took, decoding included.
    """

    results: coco.CocoResults
    people: People
    images: ImageFolder | VideoImages
    truth: COCO | None
    problems: list[str]
    people_refined: int
    contradicted_boxes: int
    seconds: float


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; the message says what is done and how to go on."""


def refine_file(options: RefineOptions, console: Console) -> Refined:
    """Read, refine and, if ``options.out`` is given, write.

    Raises:
        InputError: for anything unusable; ``options.out`` is then not written, but what was refined is kept beside it.
        Interrupted: on Ctrl-C.
    """
    if options.out is None and options.resume:
        raise InputError("--resume needs --out: the refined people are kept beside the output file")
    _check_outputs(options)
    refiner = Refiner.from_pretrained(options.checkpoint, options.device, engine=options.engine)
    options = replace(
        options, engine=refiner.engine.name, device=str(refiner.device)
    )  # a resumed run must have the same
    truth = load_ground_truth(options.annotations, len(refiner.skeleton)) if options.annotations else None
    video = _open_video(options)
    results, own = formats.read_results(
        options.detection_json,
        options.format,
        refiner.skeleton,
        lambda: _index(options, refiner.skeleton, video),
        options.on_error,
        load(options.skeleton) if options.skeleton else None,
    )
    images = video or _open_images(options, results.people, own)
    if options.on_error == "stop":
        images.require(np.unique(results.people.image_ids))
    refinement = Refinement.of(results.people)
    refinement.problems.extend(results.problems)
    journal = _open_journal(options, results.people)
    finished = journal.finished if journal else []
    for batch in finished:
        refinement.add(batch)
    settings = RefineSettings(
        batch_size=options.batch_size,
        flip_test=options.flip_test,
        passes=options.passes,
        workers=options.workers,
        on_error=options.on_error,
        rescore=options.rescore,
        keypoint_scores=options.keypoint_scores,
    )
    plan = refiner.plan(results.people, settings)
    done, total = sum(batch.people for batch in finished), plan.people
    started, begun = time.perf_counter(), done
    batches = refiner.refine_batches(
        results.people,
        images,
        settings,
        plan.after(len(finished)),
    )
    columns = (TextColumn("refining"), BarColumn(), MofNCompleteColumn(), TextColumn("people"), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=total, completed=done)
            for batch in batches:
                refinement.add(batch)
                if journal:
                    journal.append(batch)
                done += batch.people
                progress.update(task, completed=done)
    except KeyboardInterrupt:
        raise Interrupted(_interrupted(options, done, total)) from None
    except InputError as error:
        if journal and done:
            raise InputError(f"{error} [{done} of {total} people are refined and kept; --resume goes on]") from None
        if journal:
            journal.remove()
        raise
    seconds = time.perf_counter() - started
    people = refinement.apply(results.people, settings)
    if own is not None:
        people = _write_own(options, own, people)
    elif options.out is not None:
        coco.write_results(options.out, results, people)
    if journal:
        journal.remove()
    return Refined(results, people, images, truth, refinement.problems, done - begun, plan.contradicted_boxes, seconds)


def measure(options: RefineOptions, refined: Refined) -> dict[str, Any]:
    """The content of ``metrics.json``; ``before``, ``after`` and ``gain`` only with annotations.

    ``without_rescoring`` is what the refined keypoints reach with the scores that they came with.
    """
    metrics: dict[str, Any] = {}
    before = refined.results.people
    if refined.truth is not None:

        def records(people: People) -> list[dict]:
            return [r for r in coco.refined_records(refined.results, people) if isinstance(r, dict)]

        sigmas = refined.people.skeleton.sigmas
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        metrics = dict(compare(refined.truth, records(before), records(refined.people), rng=rng, sigmas=sigmas))
        if options.rescore:
            unscored = replace(refined.people, person_scores=before.person_scores)
            metrics["without_rescoring"] = evaluate(refined.truth, records(unscored), sigmas=sigmas).metrics()
    rate = refined.people_refined / refined.seconds if refined.people_refined else 0.0
    moved = np.linalg.norm(refined.people.keypoints - refined.results.people.keypoints, axis=-1)
    moved = moved[before.labelled]
    return {
        **metrics,
        "people": len(refined.people),
        "images": len(np.unique(refined.people.image_ids)),
        "skipped": len(refined.problems),
        "moved_keypoints": float((moved > 0.5).mean()) if moved.size else 0.0,
        "median_move": float(np.median(moved)) if moved.size else 0.0,
        "seconds": round(refined.seconds, 3),
        "people_per_second": round(rate, 2),
        "checkpoint": str(options.checkpoint),
        "flip_test": options.flip_test,
        "passes": options.passes,
        "contradicted_boxes": refined.contradicted_boxes,
        "refined_before": int(was_rescored(refined.results.people).sum()),
        "rescored": int((refined.people.person_scores != refined.results.people.person_scores).sum()),
    }


def draw(options: RefineOptions, refined: Refined) -> str:
    """Write before/after pictures, or the video with both poses, into ``options.visualize``; says what was written.

    With annotations the pictures show the people whose OKS changed most, for better and for worse. A video is decoded
    once more for this, since a frame's refined poses are known only when its batch is done.

    Raises:
        InputError: when the folder cannot be written.
    """
    folder = options.visualize
    before, after = refined.results.people, refined.people
    if isinstance(refined.images, VideoImages):
        video = folder / f"{options.video.stem}_before_after.mp4"
        count = write_comparison(video, refined.images.frames, before, after, refined.images.frames.fps)
        return f"{video}: {count} frames"
    truth = annotated_people(refined.truth, before.skeleton) if refined.truth else None
    written = write_pictures(folder, refined.images, before, after, truth, names=refined.images.name)
    return f"{folder}: {sum('file' in entry for entry in written)} pictures"


def report(options: RefineOptions, refined: Refined, measured: dict[str, Any], command: str) -> str:
    """Write the HTML report into ``options.report``; says what was written.

    Raises:
        InputError: when it cannot be written.
    """
    from posefix.report.html import Subject, write_report

    images = None if isinstance(refined.images, VideoImages) else refined.images
    facts = {
        "results": str(options.detection_json),
        "annotations": str(options.annotations),
        "images": str(options.images or options.video),
        "people": f"{measured['people']:,} in {measured['images']:,} images, {measured['skipped']:,} handed through",
        "checkpoint": str(options.checkpoint) + (", flip test" if options.flip_test else ""),
        "command": command,
        "interval": "paired bootstrap over images, 1,000 resamples",
    }
    before, name = refined.results.people, options.detection_json.name
    subject = Subject(name, refined.truth, before, refined.people, measured, images, facts)
    write_report(options.report, subject if images is None else replace(subject, names=images.name))
    return f"{options.report}: written"


def _check_outputs(options: RefineOptions) -> None:
    """Find out before the work whether every output can be written, and none of them over an input or another."""
    inputs = [options.detection_json, options.annotations, options.video, Path(options.checkpoint)]
    taken = {path.resolve(): path for path in inputs if path is not None}
    if options.report is not None:
        for module in ("jinja2", "matplotlib"):
            require(module, "report", "--report")
    if options.out is not None and options.out.with_name(options.out.name + SUFFIX).resolve() in taken:
        raise InputError(f"{options.out}{SUFFIX}: is an input; the progress would be kept there, choose another --out")
    if options.out is not None:
        journal = options.out.with_name(options.out.name + SUFFIX)
        taken[journal.resolve()] = journal
    for path in (options.out, options.metrics, options.visualize, options.report):
        if path is None:
            continue
        if path.resolve() in taken:
            raise InputError(f"{path}: is named twice, as an output and as another file of this run")
        taken[path.resolve()] = path
        if path == options.visualize:
            make_folder(path)
            require_writable(path / INDEX)
            if (path / INDEX).resolve() in taken:
                raise InputError(f"{path / INDEX}: is written by --visualize and named as another file of this run")
            taken[(path / INDEX).resolve()] = path / INDEX
        elif path == options.out and options.detection_json.is_dir():
            require_new_folder(path)
        else:
            require_writable(path)


def _write_own(options: RefineOptions, own: formats.Own, people: People) -> People:
    """Write people in the format that they came in, and return them as they can be read again.

    What the format has no place for, such as scores of people, is thus not measured either.
    """
    with TemporaryDirectory() as folder:
        path = options.out or Path(folder) / options.detection_json.resolve().name
        refined = own.with_refined(people)
        formats.write(refined, path)
        written = formats.read_again(refined, path)
    return written[own.rows].to_skeleton(people.skeleton)


def _open_video(options: RefineOptions) -> VideoImages | None:
    if (options.images is None) == (options.video is None):
        raise InputError("give either --images FOLDER or --video_path FILE")
    return None if options.video is None else VideoImages(options.video)


def _index(options: RefineOptions, skeleton: Skeleton, video: VideoImages | None) -> ImageIndex:
    """What the results' names of images mean."""
    if video is not None:
        return ImageIndex.of_video(options.video, video.frames.size)
    if options.annotations is not None:
        return ImageIndex.of_annotations(options.annotations, skeleton, options.images)
    return ImageIndex.of_folder(options.images)


def _open_images(options: RefineOptions, people: People, own: formats.Own | None) -> ImageFolder:
    if options.annotations is not None:
        return ImageFolder(options.images, coco.read_annotations(options.annotations, people.skeleton).images)
    if own is None:
        return ImageFolder(options.images)
    return ImageFolder(options.images, own.people.source.images, upright=own.people.source.kind != "id")


def _open_journal(options: RefineOptions, people: People) -> Journal | None:
    if options.out is None:
        return None
    return Journal(options.out, signature(options), options.resume, people=len(people), keypoints=len(people.skeleton))


def signature(options: RefineOptions) -> str:
    """What tells the work of one run from that of another: results, checkpoint, annotations, and how they are used."""
    files = [*_files_of(options.detection_json, options.out), checkpoints.resolve(options.checkpoint)]
    files += [options.annotations] if options.annotations else []
    source = options.video or options.images
    settings = {
        "batch_size": options.batch_size,
        "flip_test": options.flip_test,
        "passes": options.passes,
        "on_error": options.on_error,
        "format": options.format,
        "skeleton": options.skeleton,
        "engine": options.engine,
        "device": options.device,
        "source": str(source.resolve()) if source else None,
    }
    return fingerprint(files, settings)


def _files_of(path: Path, out: Path) -> list[Path]:
    """The files of results: of a folder those that can be of its format, without what this run itself puts there."""
    if not path.is_dir():
        return [path]
    names = sorted(name for name in os.listdir(path) if not name.startswith(".") and name != out.name + SUFFIX)
    return [path / name for name in names if (path / name).is_file()]


def _interrupted(options: RefineOptions, done: int, total: int) -> str:
    if options.out is None:
        return f"stopped: {done} of {total} people were refined; with --out they would have been kept"
    return f"stopped: {done} of {total} people are refined and kept; the same command with --resume goes on from there"
