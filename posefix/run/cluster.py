"""Refine on a Ray cluster: batches are sent out in shards, and returned in the order of the plan.

A worker refines a batch as a single process would, on as many cores, so the results are the same to the last bit.
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

BATCHES = 16  # per shard: seconds of work, so that the overhead of sending it is small
AHEAD = 3  # shards in flight per worker, so that none waits while an earlier shard is retried
RETRIES = 3  # of a shard whose worker died


@dataclass(frozen=True, eq=False)
class Shard:
    """A few batches, with everything needed to refine them on another machine."""

    rows: np.ndarray  # (N,) int64 rows of its people among all people
    people: People  # all people in the images of the batches
    batches: BatchPlan  # with rows of ``people``
    images: ImageFolder


@dataclass(frozen=True)
class Recipe:
    """Options of the workers, the same for all shards."""

    checkpoint: str
    device: str
    engine: str
    threads: int  # cores per worker
    folder: str  # base of relative paths

    @classmethod
    def of(cls, checkpoint: str, refiner: Refiner) -> Recipe:
        """Take over the options of a refiner on this machine."""
        return cls(checkpoint, refiner.device.type, refiner.engine.name, torch.get_num_threads(), os.getcwd())


def shards(people: People, images: ImageFolder, plan: BatchPlan) -> Iterator[Shard]:
    """Split a plan of batches into shards, in order."""
    order = np.argsort(people.image_ids, kind="stable")
    ids, rank = people.image_ids[order], np.argsort(order)
    source = people.source and Source(people.source.format, None, {})  # without the content of the file
    for first in range(0, len(plan), BATCHES):
        batches = plan.part(first, first + BATCHES)
        image_ids = people.image_ids[batches.views.rows]  # sorted, as batches go image by image
        start, end = np.searchsorted(ids, image_ids[0]), np.searchsorted(ids, image_ids[-1], "right")
        rows = order[start:end]
        columns = {name: getattr(people, name)[rows] for name in COLUMNS}
        views = replace(batches.views, rows=rank[batches.views.rows] - start)
        shard_people = People(people.skeleton, **columns, source=source)
        yield Shard(rows, shard_people, replace(batches, views=views), images.part(np.unique(image_ids).tolist()))


def refine_shard(shard: Shard, recipe: Recipe, settings: RefineSettings) -> tuple[list[RefinedBatch], str]:
    """Refine a shard on a worker; returns its batches, and an error message if it ended early."""
    refined: list[RefinedBatch] = []
    try:
        for batch in _refiner(recipe).refine_batches(shard.people, shard.images, settings, shard.batches):
            problems = [(int(shard.rows[row]), text) for row, text in batch.problems]
            refined.append(replace(batch, rows=shard.rows[batch.rows], problems=problems))
    except InputError as error:
        return refined, str(error)
    return refined, ""


@cache
def _refiner(recipe: Recipe) -> Refiner:
    """Return the refiner of this worker, which is reused for all its shards."""
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
    """Refine people on a cluster, yielding the batches in the order of the plan, as :meth:`Refiner.refine_batches`.

    Args:
        address: ``ray`` for the cluster of this machine, started if there is none; or ``ray://HOST:PORT`` of a
            cluster's head.
        recipe: options of the workers.
        people: people with the refiner's skeleton.
        images: a folder that all machines see under the same path.
        settings: how to refine.
        plan: the batches.

    Raises:
        InputError: for an unusable image, an unusable cluster, or people on whom every worker dies.
    """
    ray = require("ray", "ray", "--cluster")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    try:
        ray.init(None if address == "ray" else address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"--cluster {address}: cannot be reached ({reason:.200})") from None
    gpu = recipe.device == "cuda"
    task = ray.remote(num_cpus=0 if gpu else recipe.threads, num_gpus=int(gpu), max_retries=RETRIES)(refine_shard)
    pending: deque[Any] = deque()
    try:
        for shard in shards(people, images, plan):
            if len(pending) >= AHEAD * _workers(ray, recipe, gpu):
                yield from _received(ray, pending.popleft())
            pending.append(task.remote(shard, recipe, settings))
        while pending:
            yield from _received(ray, pending.popleft())
    finally:
        ray.shutdown()


def _workers(ray: Any, recipe: Recipe, gpu: bool) -> int:
    """Count the workers that the cluster has room for; raises InputError if it has none."""
    name, required = ("GPU", 1) if gpu else ("CPU", recipe.threads)
    count = sum(int(node["Resources"].get(name, 0) // required) for node in ray.nodes() if node["Alive"])
    if not count:
        raise InputError(f"--cluster: no machine of the cluster has {required} {name}s; see --threads and --device")
    return count


def _received(ray: Any, shard: Any) -> Iterator[RefinedBatch]:
    try:
        batches, problem = ray.get(shard)
    except ray.exceptions.RayTaskError:  # a bug, not a problem of the cluster
        raise
    except ray.exceptions.RayError as error:
        died = f"{1 + RETRIES} workers died, one after another, on the same people ({type(error).__name__})"
        raise InputError(f"--cluster: {died}") from None
    yield from batches
    if problem:
        raise InputError(problem)
