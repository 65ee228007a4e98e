"""Refine on a Ray cluster: whole batches go out in shards, and come back in the order of the plan.

A batch is refined by one worker as one process would refine it, on as many cores; so the results are the same bytes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from posefix.core.errors import InputError, require
from posefix.core.people import COLUMNS, People
from posefix.formats import Source
from posefix.media.images import ImageFolder
from posefix.refine.batches import BatchPlan, RefinedBatch
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings

BATCHES = 16  # of a shard: seconds of work, beside which sending it and its first crops are little
AHEAD = 3  # shards sent out for each worker, so that none waits while an earlier shard is repeated
RETRIES = 3  # of a shard whose worker died


@dataclass(frozen=True, eq=False)
class Shard:
    """A few batches, and all that is needed to refine them on another machine."""

    rows: np.ndarray  # (N,) int64 of its people among all people: everybody in the images of the batches
    people: People
    batches: BatchPlan  # rows are those of ``people``
    images: ImageFolder


@dataclass(frozen=True)
class Recipe:
    """How workers refine: the same for all shards."""

    checkpoint: str
    device: str
    engine: str
    threads: int  # cores of each worker
    folder: str  # in which relative paths begin

    @classmethod
    def of(cls, checkpoint: str, refiner: Refiner) -> Recipe:
        """To refine as this refiner does here, each worker on as many cores."""
        return cls(checkpoint, refiner.device.type, refiner.engine.name, torch.get_num_threads(), os.getcwd())


def shards(people: People, images: ImageFolder, plan: BatchPlan) -> Iterator[Shard]:
    """Cut a plan of batches into shards, in order."""
    order = np.argsort(people.image_ids, kind="stable")
    ids, place = people.image_ids[order], np.argsort(order)
    source = people.source and Source(people.source.format, None, {})  # without the content of the file
    for first in range(0, len(plan), BATCHES):
        batches = plan.part(first, first + BATCHES)
        shown = people.image_ids[batches.views.rows]  # in order, as batches go image by image
        begin, end = np.searchsorted(ids, shown[0]), np.searchsorted(ids, shown[-1], "right")
        rows = order[begin:end]
        columns = {name: getattr(people, name)[rows] for name in COLUMNS}
        views = replace(batches.views, rows=place[batches.views.rows] - begin)
        own = People(people.skeleton, **columns, source=source)
        yield Shard(rows, own, replace(batches, views=views), images.part(np.unique(shown).tolist()))


def refine_shard(shard: Shard, recipe: Recipe, settings: RefineSettings) -> tuple[list[RefinedBatch], str]:
    """Refine a shard, on a worker; returns its batches, and what is wrong with the input if that ended it early."""
    done: list[RefinedBatch] = []
    try:
        for batch in _refiner(recipe).refine_batches(shard.people, shard.images, settings, shard.batches):
            problems = [(int(shard.rows[row]), text) for row, text in batch.problems]
            done.append(replace(batch, rows=shard.rows[batch.rows], problems=problems))
    except InputError as error:
        return done, str(error)
    return done, ""


@cache
def _refiner(recipe: Recipe) -> Refiner:
    """The refiner of a worker, which lives as long as it and refines many shards."""
    try:
        os.chdir(recipe.folder)
    except OSError:
        raise InputError(
            f"{recipe.folder}: a machine of the cluster has no such folder; all must see the same files"
        ) from None
    torch.set_num_threads(recipe.threads)
    return Refiner.from_pretrained(recipe.checkpoint, recipe.device, engine=recipe.engine)


def refine_batches(
    address: str, recipe: Recipe, people: People, images: ImageFolder, settings: RefineSettings, plan: BatchPlan
) -> Iterator[RefinedBatch]:
    """Refine people on a cluster, giving the batches in the order of the plan; does what a refiner's method does.

    Args:
        address: ``ray`` for the cluster that this machine is part of, or one of this machine alone where there is none;
            or ``ray://HOST:PORT`` of a cluster's head.
        recipe: how workers refine.
        people: of the refiner's skeleton.
        images: a folder that all machines see under the same path.
        settings: how to refine.
        plan: the batches.

    Raises:
        InputError: for an unusable image, a cluster that cannot be used, or people on whom every worker dies.
    """
    ray = require("ray", "ray", "--cluster")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers
    try:
        ray.init(None if address == "ray" else address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"--cluster {address}: cannot be reached ({reason:.200})") from None
    gpu = recipe.device == "cuda"
    task = ray.remote(num_cpus=0 if gpu else recipe.threads, num_gpus=int(gpu), max_retries=RETRIES)(refine_shard)
    sent: deque[Any] = deque()
    try:
        for shard in shards(people, images, plan):
            if len(sent) >= AHEAD * _workers(ray, recipe, gpu):
                yield from _received(ray, sent.popleft())
            sent.append(task.remote(shard, recipe, settings))
        while sent:
            yield from _received(ray, sent.popleft())
    finally:
        ray.shutdown()


def _workers(ray: Any, recipe: Recipe, gpu: bool) -> int:
    """How many workers the cluster has at this moment; raises InputError if it has none."""
    name, each = ("GPU", 1) if gpu else ("CPU", recipe.threads)
    found = sum(int(node["Resources"].get(name, 0) // each) for node in ray.nodes() if node["Alive"])
    if not found:
        raise InputError(f"--cluster: no machine of the cluster has {each} {name}s; see --threads and --device")
    return found


def _received(ray: Any, shard: Any) -> Iterator[RefinedBatch]:
    try:
        batches, wrong = ray.get(shard)
    except ray.exceptions.RayTaskError:  # an error of the program's, in a worker
        raise
    except ray.exceptions.RayError as error:
        died = f"{1 + RETRIES} workers died, one after another, on the same people ({type(error).__name__})"
        raise InputError(f"--cluster: {died}") from None
    yield from batches
    if wrong:
        raise InputError(wrong)
