"""Refine files on this machine: read results and images, refine, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path

import numpy as np
import torch
from rich import progress
from rich.console import Console

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.people import People, require_shared
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats import ImageIndex
from posefix.formats.coco import ImageRecord
from posefix.formats.images import number_of
from posefix.media.images import ImageFolder
from posefix.media.video import VideoFrames
from posefix.motion.refining import VideoTime
from posefix.refine.batches import BatchPlan, RefinedBatch, Refinement
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.run import cluster
from posefix.run.journal import Journal
from posefix.run.plan import Plan

RefineBatches = Callable[..., Iterator[RefinedBatch]]  # signature of Refiner.refine_batches


@dataclass(frozen=True)
class Work:
    """The input of a refinement.

    Attributes:
        people: all people in the results, as in the file.
        rows: (R,) int64 rows of the people who can be refined.
        before: these R people in the refiner's skeleton.
        refiner_input: the refiner's input for them; in a video, their positions as expected from neighbouring frames.
        batches: batches of those who were not refined before.
        images: their images.
        truth: ground truth, if any.
        time: temporal model of a video or frames, if used.
        filled: number of people filled in, and number of those who could not be.
    """

    people: People
    rows: np.ndarray
    before: People
    refiner_input: People
    batches: BatchPlan
    images: ImageFolder | VideoFrames
    truth: GroundTruth | None
    time: VideoTime | None = None
    filled: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Refined:
    """A refined file.

    Attributes:
        work: the input.
        people: ``work.before``, refined, as in the written file.
        problems: a message for each record or person left unchanged.
        count: number of people refined by this run, without those of the run that it resumed.
        seconds: duration, including decoding.
        engine: name of the engine.
        estimator_ap: AP of the estimator in percent, as given to the network; None if it takes none.
    """

    work: Work
    people: People
    problems: list[str]
    count: int
    seconds: float
    engine: str
    estimator_ap: float | None


def refine_file(plan: Plan, settings: RefineSettings, console: Console) -> Refined:
    """Read, refine and, if ``plan.out`` is given, write.

    Raises:
        InputError: for unusable input; ``plan.out`` is then not written, but a journal of finished batches is kept.
        KeyboardInterrupt: on Ctrl-C; the message says what is done and how to resume.
    """
    plan.check()
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)  # used by all engines
    refiner = Refiner.from_pretrained(plan.checkpoint, plan.device, engine=plan.engine)
    work = read(plan, settings, refiner)
    with ExitStack() as stack:
        journal = None
        if plan.out is not None:
            signature = plan.signature(settings, refiner.engine.name, str(refiner.device), work.refiner_input)
            journal = stack.enter_context(Journal(plan.out, signature, plan.resume, work.before.scores.shape))
            if plan.resume and not journal.finished:
                console.print(f"{plan.out}: nothing to resume, starting anew", markup=False, soft_wrap=True)
        started = time.perf_counter()
        refine_batches = refiner.refine_batches
        if plan.cluster is not None:
            refine_batches = partial(cluster.refine_batches, plan.cluster, cluster.Recipe.of(plan.checkpoint, refiner))
        refinement, count = refine(refine_batches, work, settings, journal, console)
        seconds = time.perf_counter() - started
        scores = np.where(work.before.labelled, work.before.scores, work.refiner_input.scores)  # also if filled in
        after = refinement.apply(replace(work.before, scores=scores), settings)
        if work.time is not None:
            after = work.time.settle(after, refinement.keypoint_scores)
        output = formats.as_held(formats.with_refined_rows(work.people, work.rows, after), work.people)
        if plan.out is not None and journal is not None:
            formats.write(output, plan.out)
            journal.remove()
    after = output[work.rows].to_skeleton(after.skeleton)
    problems = [*work.people.source.problems, *refinement.problems]
    estimator_ap = refiner.assumed_ap(work.refiner_input, settings)
    return Refined(work, after, problems, count, seconds, refiner.engine.name, estimator_ap)


def read(plan: Plan, settings: RefineSettings, refiner: Refiner) -> Work:
    """Read results and ground truth, open the images, and check that the refiner can use them."""
    skeleton = refiner.skeleton
    truth = GroundTruth.read(plan.annotations, skeleton) if plan.annotations else None
    images: ImageFolder | VideoFrames | None = None
    index: ImageIndex | Callable[[], ImageIndex]
    if plan.video is not None:
        images = VideoFrames(plan.video)
        index = ImageIndex.of_video(plan.video, images.size)
    elif plan.fps is not None:
        index = ImageIndex.of_folder(plan.images, frames=True)
    elif truth is not None:
        images = ImageFolder(plan.images, truth.images, plan.upright)
        index = ImageIndex(truth.images, str(plan.annotations), plan.images, upright=plan.upright)
    else:
        index = partial(ImageIndex.of_folder, plan.images)
    people = formats.read(
        plan.results,
        plan.format,
        skeleton=plan.skeleton,
        default=skeleton,
        images=index,
        on_error=settings.on_error,
    )
    if plan.video is None and plan.fps is not None and isinstance(index, ImageIndex):
        by_number = people.source.format.kind == "id"
        images = ImageFolder(plan.images, index.records, upright=plan.upright or not by_number)
        _require_frame_numbers(people.source.images if by_number else {}, plan.results)
        _require_frame_numbers(truth.frames().records if truth else {}, plan.annotations)
    require_shared(people, skeleton, f"{plan.results}: the checkpoint refines")
    images = images or ImageFolder.of_people(plan.images, people, plan.upright)
    time = VideoTime.of(images, plan.fps, fill=plan.fill) if plan.over_time else None
    input_people, filled = people, (0, 0)
    try:
        if time is not None:
            proposal = time.propose(people)
            people, input_people = proposal.people, proposal.before(people)
            filled = proposal.filled, proposal.unfilled
        rows = formats.refinable(people, skeleton)
        refiner_input = people[rows].to_skeleton(skeleton)
        batches = refiner.plan(refiner_input, settings)
    except InputError as error:
        raise InputError(f"{plan.results}: {error}") from None
    if settings.on_error == "stop":
        images.require(np.unique(refiner_input.image_ids))
    before = input_people[rows].to_skeleton(skeleton)
    return Work(people, rows, before, refiner_input, batches, images, truth, time, filled)


def _require_frame_numbers(images: Mapping[int, ImageRecord], path: Path | None) -> None:
    """Raise InputError unless the ids of images are the numbers at the end of their names, if they have names."""
    for image_id, record in images.items():
        if record.file_name and number_of(record.file_name) != image_id:
            raise InputError(
                f"{path}: image {image_id} is {record.file_name}: with --fps, ids must be frame numbers, as at the end "
                "of the names"
            )


def refine(
    refine_batches: RefineBatches, work: Work, settings: RefineSettings, journal: Journal | None, console: Console
) -> tuple[Refinement, int]:
    """Refine all people, resuming after the journal; returns the refinement, and the number of people of this run."""
    finished = [] if journal is None else journal.finished
    refinement = Refinement.of(work.before, finished)
    resumed = done = sum(batch.people for batch in finished)
    total = work.batches.people
    batches = refine_batches(work.refiner_input, work.images, settings, work.batches.part(len(finished)))
    try:
        with people_progress(console, total, resumed) as advance:
            for batch in batches:
                refinement.add(batch)
                if journal is not None:
                    journal.append(batch)
                done += batch.people
                advance(batch.people)
    except KeyboardInterrupt:
        kept = "are refined and kept; the same command with --resume goes on from there"
        lost = "were refined; with --out they would have been kept"
        raise KeyboardInterrupt(f"stopped: {done} of {total} people {lost if journal is None else kept}") from None
    except InputError as error:
        if journal is None or not done:
            raise
        raise InputError(f"{error} [{done} of {total} people are refined and kept; --resume goes on]") from None
    return refinement, done - resumed


@contextmanager
def people_progress(console: Console, total: int, begun: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar; yields a function to call with the number of people in each finished batch.

    Of ``total`` people ``begun`` were refined before this run.
    """
    people = (progress.TextColumn("refining"), progress.BarColumn(), progress.MofNCompleteColumn(), "people")
    times = (progress.TimeElapsedColumn(), progress.TimeRemainingColumn(), "left")
    line = progress.Progress(progress.SpinnerColumn(), *people, *times, console=console, speed_estimate_period=inf)
    with line:
        task = line.add_task("", total=total, completed=begun)
        line.advance(task, 0)  # start measuring the speed
        yield lambda count: line.advance(task, count)
