"""Outputs of a frozen backbone on augmented crops, computed once and kept in a folder, for training the head.

A folder holds one ``.npy`` file an array, mapped into memory, and ``state.json``: how far it is, and of which training.
A cache that was interrupted is finished by the next training that names it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from posefix.core import geometry
from posefix.core.errors import InputError
from posefix.core.files import make_folder, read_json, write_atomically
from posefix.engines import create_engine
from posefix.engines.torch import TorchEngine
from posefix.models import movenet
from posefix.models.network import FusionNetwork
from posefix.training.config import Config
from posefix.training.data.loader import Batch, Batches, TrainingBatches, training_loader

STATE = "state.json"
AVERAGED = 0.7  # share of the people in a batch whose outputs are those with the flip test
WORSE = {"resolution": 1.0, "scale": 0.25, "rotation": 15.0, "shift": 0.08, "pose_box": 0.0, "flip": 0.0}  # guesses'


@dataclass(frozen=True)
class FeatureCache:
    """Outputs of the backbone on N crops, as arrays mapped from files."""

    rows: np.ndarray  # (N,) int64 of the training person
    maps: np.ndarray  # (N, 2, 3) float64 from original pixels to the frame's
    heatmaps: np.ndarray  # (N, 2, K, h, w) float16 logits: of the crop alone, and averaged with the mirrored crop
    poses: np.ndarray  # (N, 2, P, K, 2) float32 people found, in pixels of the frame
    centres: np.ndarray  # (N, 2, P) float32 their logits
    flipped: np.ndarray  # (N,) bool, whether the map mirrors
    # (N, K, 3) float32 x, y in original pixels and score: the pose that the backbone finds in a worse crop
    guesses: np.ndarray

    @classmethod
    def open(cls, folder: Path, count: int, network: FusionNetwork, keypoints: int, new: bool) -> FeatureCache:
        """Map the arrays of a folder, made anew if asked."""
        shapes: dict[str, tuple[type, tuple[int, ...]]] = {
            "rows": (np.int64, ()),
            "maps": (np.float64, (2, 3)),
            "heatmaps": (np.float16, (2, keypoints, *network.heatmap_size)),
            "poses": (np.float32, (2, movenet.SEEN_PEOPLE, keypoints, 2)),
            "centres": (np.float32, (2, movenet.SEEN_PEOPLE)),
            "flipped": (np.bool_, ()),
            "guesses": (np.float32, (keypoints, 3)),
        }
        arrays = {}
        for name, (dtype, shape) in shapes.items():
            path = folder / f"{name}.npy"
            try:
                mapped = np.lib.format.open_memmap(path, "w+" if new else "r+", dtype, (count, *shape))
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: cannot be used as part of a cache ({error})") from None
            if mapped.shape != (count, *shape) or mapped.dtype != dtype:
                raise InputError(f"{path}: holds {mapped.dtype} {mapped.shape}; delete the folder to make it anew")
            arrays[name] = mapped
        return cls(**arrays)


def fill_cache(folder: Path, batches: TrainingBatches, network: FusionNetwork, device: torch.device) -> FeatureCache:
    """Open the cache of a training, after computing what is missing of it.

    Raises:
        InputError: when the folder holds the cache of another training, or cannot be written.
    """
    make_folder(folder)
    crops = _Crops(batches)
    count = len(crops) * batches.batch
    state: dict[str, Any] = {"training": _fingerprint(batches.config, network), "batches": 0}
    if (folder / STATE).is_file():
        found = read_json(folder / STATE)
        if not isinstance(found, dict) or found.keys() != state.keys() or found["training"] != state["training"]:
            raise InputError(f"{folder}: is the cache of another training; name another, or delete it")
        state = found
    cache = FeatureCache.open(folder, count, network, len(batches.skeleton), new=not state["batches"])
    write_atomically(folder / STATE, json.dumps(state))
    fast = create_engine("auto", network, device, precision="bf16")
    columns = (TextColumn("running the backbone"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=count, completed=state["batches"] * batches.batch)
        for batch in training_loader(crops, state["batches"], batches.config.training.workers):
            place = slice(state["batches"] * batches.batch, (state["batches"] + 1) * batches.batch)
            _compute(cache, place, batch, fast)
            state["batches"] += 1
            progress.update(task, completed=place.stop)
            if state["batches"] % 20 == 0 or state["batches"] == len(crops):
                write_atomically(folder / STATE, json.dumps(state))
    return cache


def _compute(cache: FeatureCache, place: slice, batch: Batch, engine: TorchEngine) -> None:
    cache.rows[place], cache.maps[place] = batch["rows"].numpy(), batch["maps"].numpy()
    cache.flipped[place] = batch["flipped"].numpy()
    both, guess = engine.call("encode_both", batch["crops"]), engine.call("estimate", batch["worse"])
    for view, seen in enumerate(both):
        cache.heatmaps[place, view] = seen.heatmaps.float().clamp(-15, 15).cpu().numpy()
        cache.poses[place, view] = seen.poses.float().cpu().numpy()
        cache.centres[place, view] = seen.centres.float().cpu().numpy()
    found = guess.float().cpu().numpy()
    back = geometry.invert(batch["worse_maps"].numpy())
    cache.guesses[place, :, :2] = geometry.transform(found[..., :2].astype(np.float64), back)
    cache.guesses[place, :, 2] = found[..., 2]


def _fingerprint(config: Config, network: FusionNetwork) -> str:
    """Hash of all that the cached outputs depend on: the crops of the training, and the weights of the backbone.

    Input poses are drawn anew each time, so how they are drawn may change.
    """
    plain = config.model_dump(mode="json")
    kept: dict[str, Any] = {name: plain[name] for name in ("seed", "skeleton", "train", "augmentation", "synthesis")}
    kept["model"] = {name: plain["model"][name] for name in ("input_size", "box_padding")}
    kept["training"] = {"batch": plain["training"]["batch"]}
    for source in kept["train"]:
        del source["observed"], source["held_out"]
    kept["synthesis"] = {"leg_occlusion": kept["synthesis"]["leg_occlusion"]}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for name, weights in network.backbone.state_dict().items():
        digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class _Crops(Batches):
    """Crops of an epoch in which nobody is held out, and worse crops of the same people, batch by batch."""

    def __init__(self, batches: TrainingBatches) -> None:
        super().__init__(batches.rows_of_epoch(held_out=True), batches.seed, batches.batch)
        self._good, self._worse = batches, batches.augmented(**WORSE)

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, 0, index])
        rows = self.rows(index)
        crops, _, maps, flipped = self._good.look(rows, rng)
        worse, _, worse_maps, _ = self._worse.look(rows, rng)
        return {
            "rows": torch.from_numpy(rows),
            "maps": torch.from_numpy(maps),
            "flipped": torch.from_numpy(flipped),
            "crops": torch.from_numpy(crops).permute(0, 3, 1, 2),
            "worse": torch.from_numpy(worse).permute(0, 3, 1, 2),
            "worse_maps": torch.from_numpy(worse_maps),
        }


class CachedBatches(Batches):
    """Batches of cached crops, each time with other input poses; batch ``index`` of ``epoch`` is a pure function."""

    def __init__(self, batches: TrainingBatches, cache: FeatureCache) -> None:
        self._batches, self._cache = batches, cache
        self.people = batches.people
        super().__init__(np.flatnonzero(np.isin(cache.rows, batches.trained_on)), batches.seed, batches.batch)

    def __getitem__(self, index: int) -> Batch:
        chosen = np.sort(self.rows(index))
        rng = np.random.default_rng([self.seed, self.epoch, index])
        cache, rows = self._cache, self._cache.rows[chosen]
        inputs = self._batches.inputs.draw(rows, rng, cache.guesses[chosen])
        batch = self._batches.poses(rows, cache.maps[chosen], inputs, rng, cache.flipped[chosen])
        view = (rng.random(len(chosen)) < AVERAGED).astype(int)
        mine = self.share
        batch = {name: values[mine] for name, values in batch.items()}
        for name in ("heatmaps", "poses", "centres"):
            batch[name] = torch.from_numpy(getattr(cache, name)[chosen[mine], view[mine]]).float()
        return batch
