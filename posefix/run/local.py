"""From files to files on this machine: read results and images, refine, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np
import torch
from rich import progress
from rich.console import Console

from posefix import formats
from posefix.core.errors import InputError
from posefix.core.people import People, require_shared
from posefix.evaluation.ground_truth import GroundTruth
from posefix.formats import ImageIndex
from posefix.media.images import ImageFolder
from posefix.media.video import VideoFrames
from posefix.motion.refining import VideoTime
from posefix.refine.batches import BatchPlan, RefinedBatch, Refinement
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.run import cluster
from posefix.run.journal import Journal
from posefix.run.plan import Plan

RefineBatches = Callable[..., Iterator[RefinedBatch]]  # with the arguments of Refiner.refine_batches


@dataclass(frozen=True)
class Work:
    """What was read to be refined.

    Attributes:
        people: all people in the results, as the file has them.
        rows: (R,) int64 those of them who can be refined.
        before: these R people in the refiner's skeleton, as they were found.
        given: they, as the refiner is given them: in a video, where they ought to be by the frames around.
        batches: those of them who were not refined before, in the batches in which they are refined.
        images: where their pixels come from.
        truth: the ground truth, if there is any.
        time: of a video, what looks at the frames around; None without.
        filled: how many people were filled in, and how many could not be.
    """

    people: People
    rows: np.ndarray
    before: People
    given: People
    batches: BatchPlan
    images: ImageFolder | VideoFrames
    truth: GroundTruth | None
    time: VideoTime | None = None
    filled: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Refined:
    """A refined file.

    Attributes:
        work: what was read.
        people: ``work.before``, refined, as the written file has them.
        problems: a sentence for each record or person handed through untouched.
        count: how many people this run refined (a resumed run: without those of the run before).
        seconds: how long that took, decoding included.
        engine: the name of what ran the network.
        estimator_ap: AP in percent of the estimator, as the network was told; None if it cannot be told.
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
        InputError: for anything unusable; ``plan.out`` is then not written, but what was refined is kept next to it.
        KeyboardInterrupt: on Ctrl-C; the message says what is done and how to go on.
    """
    plan.check()
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)  # all engines ask torch
    refiner = Refiner.from_pretrained(plan.checkpoint, plan.device, engine=plan.engine)
    work = read(plan, settings, refiner)
    with ExitStack() as stack:
        journal = None
        if plan.out is not None:
            signature = plan.signature(settings, refiner.engine.name, str(refiner.device))
            journal = stack.enter_context(Journal(plan.out, signature, plan.resume, work.before.scores.shape))
            if plan.resume and not journal.finished:
                console.print(f"{plan.out}: nothing to resume, starting anew", markup=False, soft_wrap=True)
        started = time.perf_counter()
        refine_batches = refiner.refine_batches
        if plan.cluster is not None:
            refine_batches = partial(cluster.refine_batches, plan.cluster, cluster.Recipe.of(plan.checkpoint, refiner))
        refinement, count = refine(refine_batches, work, settings, journal, console)
        seconds = time.perf_counter() - started
        after = refinement.apply(work.before, settings)
        if work.time is not None:
            after = work.time.settle(after, refinement.keypoint_scores)
        held = formats.as_held(formats.with_refined_rows(work.people, work.rows, after), work.people)
        if plan.out is not None and journal is not None:
            formats.write(held, plan.out)
            journal.remove()
    after = held[work.rows].to_skeleton(after.skeleton)
    problems = [*work.people.source.problems, *refinement.problems]
    told = refiner.told_ap(work.given, settings)
    return Refined(work, after, problems, count, seconds, refiner.engine.name, told)


def read(plan: Plan, settings: RefineSettings, refiner: Refiner) -> Work:
    """Read results, ground truth and what is known of the images, and check that the refiner can use them."""
    skeleton = refiner.skeleton
    truth = GroundTruth.read(plan.annotations, skeleton) if plan.annotations else None
    images: ImageFolder | VideoFrames | None = None
    if plan.video is not None:
        images = VideoFrames(plan.video)
        index = partial(ImageIndex.of_video, plan.video, images.size)
    elif truth is not None:
        images = ImageFolder(plan.images, truth.images, plan.upright)
        index = partial(ImageIndex, truth.images, str(plan.annotations), plan.images, upright=plan.upright)
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
    require_shared(people, skeleton, f"{plan.results}: the checkpoint refines")
    images = images or ImageFolder.of_people(plan.images, people, plan.upright)
    if settings.on_error == "stop":
        images.require(np.unique(people.image_ids[formats.refinable(people, skeleton)]))
    found, time, filled = people, None, (0, 0)
    if isinstance(images, VideoFrames) and plan.temporal:
        time = VideoTime.of(images, fill=plan.fill)
    try:
        if time is not None:
            proposal = time.propose(people)
            people, found = proposal.people, proposal.before(people)
            filled = proposal.filled, proposal.unfilled
        rows = formats.refinable(people, skeleton)
        given = people[rows].to_skeleton(skeleton)
        batches = refiner.plan(given, settings)
    except InputError as error:
        raise InputError(f"{plan.results}: {error}") from None
    before = found[rows].to_skeleton(skeleton)
    return Work(people, rows, before, given, batches, images, truth, time, filled)


def refine(
    refine_batches: RefineBatches, work: Work, settings: RefineSettings, journal: Journal | None, console: Console
) -> tuple[Refinement, int]:
    """Refine all people, going on where the journal ends; returns what became of them, and how many it refined."""
    refinement = Refinement.of(work.before)
    finished = [] if journal is None else journal.finished
    for batch in finished:
        refinement.add(batch)
    begun = done = sum(batch.people for batch in finished)
    total = work.batches.people
    batches = refine_batches(work.given, work.images, settings, work.batches.part(len(finished)))
    try:
        with people_progress(console, total, begun) as advance:
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
    return refinement, done - begun


@contextmanager
def people_progress(console: Console, total: int, begun: int) -> Iterator[Callable[[int], None]]:
    """Show a progress line; yields a function to be called with the number of people that a batch refined.

    The elapsed time runs from the start; the time left is known from the first batch on. Of ``total`` people ``begun``
    were refined before this run.
    """
    people = (progress.TextColumn("refining"), progress.BarColumn(), progress.MofNCompleteColumn(), "people")
    times = (progress.TimeElapsedColumn(), progress.TimeRemainingColumn(), "left")
    line = progress.Progress(progress.SpinnerColumn(), *people, *times, console=console, speed_estimate_period=inf)
    with line:
        task = line.add_task("", total=total, completed=begun)
        line.advance(task, 0)  # the speed is measured from here on
        yield lambda count: line.advance(task, count)
