"""Train in a short slot on a machine with a GPU and no network: all it needs in one folder, the weights back in parts.

    python -m tools.slot pack --config gpu_mobilenetv2_256x192 --out slot         # where the data are
    sh tools/slot.sh slot weights 9                                               # where the GPU is, for 9 minutes
    sh tools/slot.sh slot weights 9 --parts weights                               # goes on, on another machine too
    python -m tools.slot join weights --out model.safetensors

The folder holds the training sets as packed files, the results that serve as inputs, the first weights and the
configuration; with ``--wheel`` also packages that the other machine lacks. The weights come back in fp16 and in parts
of at most 15 MiB.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch
import yaml
from rich.progress import Progress

from posefix import config as configs
from posefix import skeleton as skeletons
from posefix.commands import friendly
from posefix.config import Config, DataSource
from posefix.data.packing import pack
from posefix.data.stores import FolderStore, in_fold
from posefix.errors import InputError
from posefix.files import make_folder, read_bytes, read_json, require_new_folder, require_writable, write_atomically
from posefix.model.checkpoint import Checkpoint, load_checkpoint, resolve, save_checkpoint
from posefix.train import Trainer
from tools.experiment import environment

STARTED = time.monotonic()
PART_BYTES = 15 * 2**20
LEAVING_SECONDS = 10  # to write the weights when time is up
CONFIG, MANIFEST, RUN = "config.yaml", "parts.json", "run"


@click.group(help=__doc__.splitlines()[0])
def main() -> None:
    """Pack here, train there, join here."""


@main.command("pack", epilog="Example: python -m tools.slot pack --config gpu_mobilenetv2_256x192 --out slot")
@click.option("--config", required=True, help="A YAML file, or the name of one in configs/.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder.")
@click.option("--quality", type=click.IntRange(1, 100), default=92, show_default=True, help="Of the JPEG crops.")
@click.option("--wheel", "wheels", multiple=True, help="A package that the other machine lacks; may be repeated.")
@click.option("--python", "python_version", default="3.12", show_default=True, help="Of the other machine.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@friendly
def pack_command(
    config: str, out: Path, quality: int, wheels: tuple[str, ...], python_version: str, overrides: tuple[str, ...]
) -> None:
    """Put all that a training needs into one folder."""
    experiment = configs.load(config, overrides)
    require_new_folder(out)
    with _staged(out) as folder:
        write_atomically(folder / CONFIG, yaml.safe_dump(_carried(experiment, folder, quality)))
        if wheels:
            _download(wheels, python_version, folder / "wheels")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    click.echo(f"{out}: {size / 2**20:.1f} MiB; train with: sh tools/slot.sh {out} weights 9")


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder that takes its place when all is in it."""
    make_folder(out.absolute().parent)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        yield folder
        folder.chmod(0o755)
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _carried(experiment: Config, folder: Path, quality: int) -> dict:
    """The configuration as plain data, with every file that it names copied or packed into the folder."""

    def copied(path: str, name: str) -> str:
        write_atomically(folder / name, read_bytes(path))
        return "{data}/" + name

    plain = experiment.model_dump(mode="json")
    skeleton = skeletons.load(experiment.skeleton)
    for i, source in enumerate(experiment.train):
        entry = plain["train"][i]
        entry["observed"] = [copied(path, f"observed_{i}_{j}.json") for j, path in enumerate(source.observed)]
        if source.poses is not None:
            entry["poses"] = copied(source.poses, f"poses_{i}.npz")
            continue
        entry |= {"annotations": None, "images": None, "packed": f"{{data}}/train_{i}.packed"}
        if source.packed is not None:
            copied(source.packed, f"train_{i}.packed")
        else:
            _pack(source, skeleton, experiment, folder / f"train_{i}.packed", quality)
    if experiment.training.init is not None:
        plain["training"]["init"] = copied(str(resolve(experiment.training.init)), "init.safetensors")
        plain["model"]["pretrained"] = None  # what the training begins with is all in there
    elif experiment.model.pretrained is not None and Path(experiment.model.pretrained).is_file():
        plain["model"]["pretrained"] = copied(experiment.model.pretrained, "backbone.safetensors")
    plain["evaluation"], plain["training"]["evaluate_every"] = [], 0
    return plain


def _pack(source: DataSource, skeleton: skeletons.Skeleton, experiment: Config, path: Path, quality: int) -> None:
    store = FolderStore(Path(source.annotations), Path(source.images), skeleton)
    if source.held_out is not None:
        store.people = store.people[~in_fold(store.people.image_ids, store.image_ids, source.held_out)]
    with Progress() as progress:
        task = progress.add_task(path.name, total=len(store.people))
        pack(store, path, experiment.model, experiment.augmentation, lambda: progress.advance(task), quality)


def _download(wheels: tuple[str, ...], python_version: str, folder: Path) -> None:
    """Wheels of packages without what they depend on, for Linux on x86-64."""
    where = ["--only-binary=:all:", "--python-version", python_version, "--dest", str(folder)]
    for tag in ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"):
        where += ["--platform", tag]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *where, *wheels]
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"{' '.join(wheels)}: could not all be downloaded; what pip said stands above")


@main.command("train", epilog="Example: sh tools/slot.sh slot weights 9")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the parts of the weights.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), required=True, help="From start to end.")
@click.option("--parts", type=click.Path(path_type=Path), help="Folder of parts to go on from, on another machine.")
@click.option("--device", help="Such as cpu or cuda:0; a GPU where there is one.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@friendly
def train_command(
    folder: Path, out: Path, minutes: float, parts: Path | None, device: str | None, overrides: tuple[str, ...]
) -> None:
    """Train until time is up, going on from the folder's own state or from parts, and leave the weights in parts."""
    make_folder(out)
    with environment({"POSEFIX_DATA": str(folder)}):
        experiment = configs.load(folder / CONFIG, overrides)
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        trainer = Trainer(experiment, folder / RUN, chosen)
        if not trainer.resume() and parts is not None:
            with tempfile.TemporaryDirectory() as scratch:
                trainer.go_on_from(load_checkpoint(join(parts, Path(scratch) / "joined.safetensors")), str(parts))
        click.echo(f"begins at step {trainer.step} on {chosen}")
        left = minutes - (time.monotonic() - STARTED + LEAVING_SECONDS) / 60
        finished = trainer.fit(max(left, 1e-9))  # at least a step
    count = split(trainer.checkpoint(), out)
    click.echo(f"{out}: {count} parts; " + ("finished" if finished else f"time is up at step {trainer.step}"))


def split(checkpoint: Checkpoint, out: Path, part_bytes: int = PART_BYTES) -> int:
    """Write a checkpoint in fp16 and in parts with their checksums; how many there are."""
    with tempfile.TemporaryDirectory() as scratch:
        save_checkpoint(Path(scratch) / "whole", checkpoint, half=True)
        content = (Path(scratch) / "whole").read_bytes()
    parts = [content[start : start + part_bytes] for start in range(0, len(content), part_bytes)]
    manifest = []
    for i, part in enumerate(parts):
        name = f"part-{i:02d}"
        write_atomically(out / name, part)
        manifest.append({"name": name, "sha256": hashlib.sha256(part).hexdigest()})
    write_atomically(out / MANIFEST, json.dumps({"parts": manifest, "facts": checkpoint.facts}) + "\n")
    return len(parts)


def join(folder: Path, out: Path) -> Path:
    """Put the parts of a folder together again into ``out``.

    Raises:
        InputError: when one is missing, or not what was written.
    """
    manifest = read_json(folder / MANIFEST)
    try:
        listed = [(str(part["name"]), str(part["sha256"])) for part in manifest["parts"]]
    except (KeyError, TypeError):
        raise InputError(f"{folder / MANIFEST}: not a list of parts with names and checksums") from None
    parts = []
    for name, checksum in listed:
        part = read_bytes(folder / Path(name).name)
        if hashlib.sha256(part).hexdigest() != checksum:
            raise InputError(f"{folder / name}: is damaged, or of another training; fetch it again")
        parts.append(part)
    write_atomically(out, b"".join(parts))
    return out


@main.command("join", epilog="Example: python -m tools.slot join weights --out model.safetensors")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@friendly
def join_command(folder: Path, out: Path) -> None:
    """Put the parts together again, and check that they are a checkpoint."""
    require_writable(out)
    loaded = load_checkpoint(join(folder, out))
    click.echo(f"{out}: {loaded.facts}")


if __name__ == "__main__":
    main()
