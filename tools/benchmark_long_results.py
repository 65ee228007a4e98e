"""How much memory reading and writing a long file of COCO results takes.

python -m tools.benchmark_long_results --gigabytes 1

The file is drawn from a seed and removed again; there has to be room for it and its copy.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from posefix import formats
from posefix.cli.options import friendly
from posefix.core.files import write_pieces
from posefix.formats import coco
from tools.benchmark import RSS_PER_MEBIBYTE, drawn_people

BLOCK = 2000  # people


def drawn_results(size: float, rng: np.random.Generator) -> Iterator[str]:
    """The text of a results file of at least ``size`` bytes: the same people again and again, in other images."""
    records = coco.people_records(drawn_people(BLOCK, rng))
    written, first = 0, 0
    while written < size:
        block = json.dumps([{**record, "image_id": first + record["image_id"]} for record in records])[1:-1]
        yield f"{',' if first else '['}{block}"
        written, first = written + len(block), first + BLOCK
    yield "]\n"


def peak() -> float:
    """MiB that this process took at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_PER_MEBIBYTE


@click.command(help=__doc__.splitlines()[0])
@click.option("--gigabytes", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
@friendly
def main(gigabytes: float, seed: int) -> None:
    """Draw, read, change every hundredth person, write; and say what each took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        write_pieces(path, drawn_results(gigabytes * 1e9, np.random.default_rng(seed)))
        click.echo(f"{path.stat().st_size / 1e9:.2f} GB of results; the program itself takes {peak():.0f} MiB")
        started = time.perf_counter()
        results = formats.read(path)
        seconds = time.perf_counter() - started
        click.echo(f"read: {len(results):,} people, {seconds:.0f} s, peak {peak():.0f} MiB")
        keypoints = results.keypoints.copy()
        keypoints[::100] += 3
        started = time.perf_counter()
        formats.write(results.with_keypoints(keypoints), path.with_name("refined.json"))
        click.echo(f"written: {time.perf_counter() - started:.0f} s, peak {peak():.0f} MiB")


if __name__ == "__main__":
    main()
