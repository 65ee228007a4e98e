"""Refining on a cluster: the bytes of a single process, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from posefix.media.images import ImageFolder
from posefix.refine.refiner import Refiner
from posefix.refine.settings import RefineSettings
from posefix.run.cluster import BATCHES, Recipe, refine_shard, shards
from posefix.run.journal import SUFFIX
from tests.refine_command import assert_clear, run
from tests.tiny import random_people, write_results


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """Undo ``--threads``: with another number of threads, some processors round differently in later tests."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_shards_refined_elsewhere_are_what_one_process_makes(world: dict[str, Path], rng: np.random.Generator) -> None:
    refiner = Refiner.from_pretrained(world["checkpoint"], "cpu")
    people = random_people(rng, 3 * BATCHES)
    refined_before = np.where(rng.random(len(people)) < 0.2, 0.5, np.nan)  # neighbours of the others, and no more
    people = replace(people, original_scores=refined_before)
    (world["images"] / "000000000002.jpg").write_bytes(b"no image")
    images, settings = ImageFolder(world["images"]), RefineSettings(batch_size=2, on_error="skip")
    plan = refiner.plan(people, settings)
    expected = list(refiner.refine_batches(people, images, settings, plan))
    recipe = Recipe.of(str(world["checkpoint"]), refiner)
    parts = [refine_shard(shard, recipe, settings) for shard in shards(people, images, plan)]
    assert len(parts) == 2 and not any(wrong for _, wrong in parts)
    found = [batch for batches, _ in parts for batch in batches]
    assert len(found) == len(expected) == len(plan)
    for one, other in zip(found, expected, strict=True):
        for name in ("rows", "keypoints", "expected", "keypoint_scores"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.problems == other.problems


def test_a_file_refined_by_two_workers_is_that_of_one_process_though_an_image_is_mended_and_a_worker_dies(
    world: dict[str, Path], tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="needs ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # on a busy machine Ray's workers wait long
    write_results(world["results"], random_people(rng, 1600), rng)
    broken = world["images"] / "000000000003.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    expected, out = tmp_path / "expected.json", tmp_path / "out.json"
    alone = run(world, "--out", expected, "--threads", 1)
    shared = run(world, "--out", out, "--threads", 1, "--cluster", "ray")
    assert_clear(shared, out)
    said, should = (result.stderr.splitlines()[-1].partition(" [")[0] for result in (shared, alone))
    assert said == should and broken.name in said
    broken.write_bytes(whole)
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=_kill_one_worker, args=(tmp_path / f"out.json{SUFFIX}", killed, over))
    killer.start()
    shared = run(world, "--out", out, "--threads", 1, "--cluster", "ray", "--resume")
    over.set()
    killer.join()
    assert shared.exit_code == 0, shared.output
    assert killed
    assert run(world, "--out", expected, "--threads", 1, "--resume").exit_code == 0
    assert out.read_bytes() == expected.read_bytes()


def _kill_one_worker(journal: Path, killed: list[int], over: threading.Event) -> None:
    """Kill one of the two workers of this process while it refines, once another shard is done."""
    before = journal.read_bytes().count(b"\n")
    while not killed and not over.wait(0.02):
        begun = journal.exists() and journal.read_bytes().count(b"\n") > before
        for pid in _refining_workers() if begun else ():
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            break


def _refining_workers() -> list[int]:
    """Ray's workers among this process's descendants that refine at this moment, by how Ray calls them."""
    parents, refining = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(b"ray::refine_shard"):
                refining.append(int(folder.name))
        except OSError:  # it ended
            continue
    return [pid for pid in refining if os.getpid() in (parents.get(pid), parents.get(parents.get(pid, 0)))]


def test_a_cluster_of_another_kind_is_refused(world: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs ray")
    result = run(world, "--out", tmp_path / "out.json", "--cluster", "slurm")
    assert_clear(result, tmp_path / "out.json")
    assert "must be ray or ray://" in result.stderr
