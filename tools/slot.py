"""Train in a short slot on a machine with a GPU and no network: all data in one folder, the weights back in parts.

    python -m tools.slot pack --config gpu_mobilenetv2_256x192 --out slot         # where the data are
    sh tools/slot.sh slot weights 9                                               # where the GPU is, for 9 minutes
    sh tools/slot.sh slot weights 9 --parts weights                               # goes on, on another machine too
    python -m tools.slot join weights --out model.safetensors

The folder holds the training sets as packed files, the results that serve as inputs, the first weights and the
configuration; with ``--wheel`` also packages that the other machine lacks. This source tree has to be there as well.
The weights come back in fp16 and in parts of at most 15 MiB, also when the training is interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import yaml
from rich.progress import Progress

from posefix import config as configs
from posefix import distributed
from posefix import skeleton as skeletons
from posefix.commands import friendly
from posefix.config import Config, DataSource
from posefix.data.packing import pack
from posefix.data.stores import FolderStore, in_fold, open_store
from posefix.errors import InputError
from posefix.files import make_folder, read_json, require_new_folder, require_writable, write_atomically
from posefix.model.checkpoint import Checkpoint, load_checkpoint, resolve, save_checkpoint
from posefix.model.network import RefinerNetwork
from posefix.train import Trainer
from tools.experiment import environment

PART_BYTES = 15 * 2**20
SAVES_TO_LEAVE = 4  # how often the state could be saved in the time that is kept for leaving, beside the seconds
LEAVING_SECONDS = 5
SAVE_MINUTES = 2.0
PART_NAME = re.compile(r"part-\d\d-[0-9a-f]{12}")
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
    """Put all that a training needs into one folder; photographs that a set of images holds out stay behind."""
    experiment = configs.load(config, overrides)
    if not experiment.train:
        raise InputError(f"configuration {experiment.name} names no training data under 'train'")
    require_new_folder(out)
    with _staged(Path(os.path.realpath(out))) as folder:
        if wheels:
            _download(wheels, python_version, folder / "wheels")
        carried = _carried(experiment, folder, quality)
        carried["name"] = f"{experiment.name}-{_digest(folder)}"  # by which parts of another folder are known
        write_atomically(folder / CONFIG, yaml.safe_dump(carried))
        with environment({"POSEFIX_DATA": str(folder)}):
            packed = configs.load(folder / CONFIG)
            for source in packed.train:
                open_store(source, skeletons.load(packed.skeleton))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    click.echo(f"{out}: {size / 2**20:.1f} MiB; train with: sh tools/slot.sh {out} weights 9")


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder that takes its place when all is in it."""
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name[:200]}.", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o755)
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _carried(experiment: Config, folder: Path, quality: int) -> dict:
    """The configuration as plain data, with every file that it names copied or packed into the folder."""

    def copied(path: str | Path, name: str) -> str:
        try:
            shutil.copyfile(path, folder / name)
        except OSError as error:
            raise InputError(f"{path}: cannot be copied ({error.strerror or error})") from None
        return "{data}/" + name

    plain = experiment.model_dump(mode="json")
    skeleton = skeletons.load(experiment.skeleton)
    if Path(experiment.skeleton).is_file():
        plain["skeleton"] = copied(experiment.skeleton, "skeleton.yaml")
    if Path(experiment.synthesis.statistics).is_file():
        plain["synthesis"]["statistics"] = copied(experiment.synthesis.statistics, "statistics.yaml")
    if experiment.training.init is not None:
        plain["training"]["init"] = copied(resolve(experiment.training.init), "init.safetensors")
    elif experiment.model.pretrained is not None:
        plain["training"]["init"] = "{data}/init.safetensors"
        first = Checkpoint(RefinerNetwork(experiment.model, len(skeleton)), experiment, skeleton)
        save_checkpoint(folder / "init.safetensors", first)
    plain["model"]["pretrained"] = None  # what the training begins with is all in there
    for i, source in enumerate(experiment.train):
        entry = plain["train"][i]
        entry["observed"] = [copied(path, f"observed_{i}_{j}.json") for j, path in enumerate(source.observed)]
        if source.poses is not None:
            entry["poses"] = copied(source.poses, f"poses_{i}.npz")
        elif source.packed is not None:
            entry["packed"] = copied(source.packed, f"train_{i}.packed")
        else:
            entry |= {"annotations": None, "images": None, "packed": f"{{data}}/train_{i}.packed"}
            _pack(source, skeleton, experiment, folder / f"train_{i}.packed", quality)
    plain["evaluation"], plain["training"]["evaluate_every"] = [], 0
    plain["training"]["save_minutes"] = min(experiment.training.save_minutes, SAVE_MINUTES)
    return plain


def _digest(folder: Path) -> str:
    """What tells the data of one folder from another's."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(path.name.encode())
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:8]


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
@click.option("--started", type=float, help="When the slot began, in seconds since 1970; now, unless given.")
@click.option("--parts", type=click.Path(path_type=Path), help="Parts to go on from, if they are further than FOLDER.")
@click.option("--device", help="Such as cpu or cuda:0; a GPU where there is one.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@friendly
def train_command(
    folder: Path,
    out: Path,
    minutes: float,
    started: float | None,
    parts: Path | None,
    device: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Train until time is up, going on from the folder's own state or from parts, and leave the weights in parts."""
    begun = time.time() if started is None else started
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: is not a folder that tools.slot pack made; it has no {CONFIG}")
    if not minutes > 0 or minutes == float("inf"):
        raise InputError(f"--minutes must be a number above 0, found {minutes}")
    make_folder(out)
    with environment({"POSEFIX_DATA": str(folder)}), distributed.process_group(device) as chosen, _interruptible():
        trainer = Trainer(configs.load(folder / CONFIG, overrides), folder / RUN, chosen)
        trainer.resume()
        if parts is not None:
            given = _joined(parts)
            if given.config.name != trainer.config.name:
                raise InputError(f"{parts}: are of the folder {given.config.name}, not of {trainer.config.name}")
            trainer.go_on_from(given, str(parts))
        if (out / MANIFEST).is_file() and (there := _joined(out).facts.get("steps", 0)) > trainer.step:
            raise InputError(
                f"{out}: holds parts of step {there}, to go on from with --parts {out}, or choose another --out"
            )
        click.echo(f"begins at step {trainer.step} on {chosen}")
        before = time.monotonic()
        trainer.save()
        leaving = LEAVING_SECONDS + SAVES_TO_LEAVE * (time.monotonic() - before)
        left = minutes - (time.time() - begun + leaving) / 60
        try:
            finished = trainer.fit(max(left, 1e-9))  # at least a step
        except KeyboardInterrupt:
            split(trainer.checkpoint(), out)
            raise
        count = split(trainer.checkpoint(), out)
    click.echo(f"{out}: {count} parts; " + ("finished" if finished else f"time is up at step {trainer.step}"))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Take a request to terminate, as schedulers send, for Ctrl-C."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def split(checkpoint: Checkpoint, out: Path, part_bytes: int = PART_BYTES) -> int:
    """Write a checkpoint in fp16 and in parts; how many there are.

    Parts that are there already stay until all new ones are, so that the folder can be joined at any time.
    """
    with tempfile.TemporaryDirectory() as scratch:
        save_checkpoint(Path(scratch) / "whole", checkpoint, half=True)
        content = (Path(scratch) / "whole").read_bytes()
    manifest = []
    for i, start in enumerate(range(0, len(content), part_bytes)):
        part = content[start : start + part_bytes]
        checksum = hashlib.sha256(part).hexdigest()
        name = f"part-{i:02d}-{checksum[:12]}"
        write_atomically(out / name, part)
        manifest.append({"name": name, "sha256": checksum})
    write_atomically(out / MANIFEST, json.dumps({"parts": manifest, "facts": checkpoint.facts}) + "\n")
    listed = {part["name"] for part in manifest}
    for path in out.glob("part-??-????????????"):
        if path.name not in listed:
            with suppress(OSError):
                path.unlink()
    return len(manifest)


def whole(folder: Path) -> bytes:
    """The checkpoint file whose parts are in a folder.

    Raises:
        InputError: when one is missing, or not what was written.
    """
    manifest = read_json(folder / MANIFEST)
    try:
        listed = [(str(part["name"]), str(part["sha256"])) for part in manifest["parts"]]
    except (KeyError, TypeError):
        listed = []
    if not listed or not all(PART_NAME.fullmatch(name) for name, _ in listed):
        raise InputError(f"{folder / MANIFEST}: is not a list of parts with names and checksums")
    parts = []
    for name, checksum in listed:
        path = folder / name
        try:
            part = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); fetch it again") from None
        if hashlib.sha256(part).hexdigest() != checksum:
            raise InputError(f"{path}: is damaged; fetch it again")
        parts.append(part)
    return b"".join(parts)


def _joined(folder: Path) -> Checkpoint:
    """The checkpoint whose parts are in a folder; InputError when they are none."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "joined.safetensors"
        path.write_bytes(whole(folder))
        try:
            return load_checkpoint(path)
        except InputError as error:
            raise InputError(f"{folder}: joined, {str(error).partition(': ')[2]}") from None


@main.command("join", epilog="Example: python -m tools.slot join weights --out model.safetensors")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@friendly
def join_command(folder: Path, out: Path) -> None:
    """Check that the parts are a checkpoint, and put them together again."""
    require_writable(out)
    checkpoint = _joined(folder)
    write_atomically(out, whole(folder))
    click.echo(f"{out}: {checkpoint.facts}")


if __name__ == "__main__":
    main()
