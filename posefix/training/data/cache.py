"""Cache the outputs of the backbone, or of its frozen stages, on augmented crops, for training the rest.

A cache folder contains one memory-mapped ``.npy`` file per array, and ``state.json`` with its progress and the training
that it belongs to. An interrupted cache is completed by the next training that uses it.
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
from posefix.models.network import FusionNetwork
from posefix.training.config import Config
from posefix.training.data.loader import Batch, Batches, TrainingBatches, training_loader

STATE = "state.json"
PRECISE = ("poses", "centres")  # outputs kept in single precision
AVERAGED = 0.7  # share of people whose outputs are those with the flip test
WORSE = {"resolution": 1.0, "scale": 0.25, "rotation": 15.0, "shift": 0.08, "pose_box": 0.0, "flip": 0.0}  # for guesses


@dataclass(frozen=True)
class FeatureCache:
    """Outputs of the backbone on N crops, as memory-mapped arrays."""

    rows: np.ndarray  # (N,) int64 row of the training person
    maps: np.ndarray  # (N, 2, 3) float64 from image pixels to frame pixels
    flipped: np.ndarray  # (N,) bool, whether the map mirrors
    guesses: np.ndarray  # (N, K, 3) float32 x, y in image pixels and score: the backbone's estimate on a worse crop
    outputs: dict[str, np.ndarray]  # (N, 2, ...) fields of Evidence without and with flip test; or (N, ...) of Stages

    @classmethod
    def open(cls, folder: Path, count: int, network: FusionNetwork, cached: str, new: bool) -> FeatureCache:
        """Map the arrays of a folder, which are created if ``new``; ``cached`` as in the configuration."""
        blank = torch.zeros(1, 3, *network.config.input_size, dtype=torch.uint8, device=network.flip.device)
        with torch.inference_mode():
            example = network.encode_stages(blank) if cached == "stages" else network.encode(blank, flip_test=False)
        views = () if cached == "stages" else (2,)

        def array(name: str, dtype: type, *shape: int) -> np.ndarray:
            path = folder / f"{name}.npy"
            try:
                mapped = np.lib.format.open_memmap(path, "w+" if new else "r+", dtype, (count, *shape))
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: cannot be used as part of a cache ({error})") from None
            if mapped.shape != (count, *shape) or mapped.dtype != dtype:
                raise InputError(f"{path}: holds {mapped.dtype} {mapped.shape}; delete the folder to make it anew")
            return mapped

        return cls(
            array("rows", np.int64),
            array("maps", np.float64, 2, 3),
            array("flipped", np.bool_),
            array("guesses", np.float32, len(network.flip), 3),
            {  # maps in half precision
                name: array(name, np.float32 if name in PRECISE else np.float16, *views, *values.shape[1:])
                for name, values in example._asdict().items()
            },
        )


def fill_cache(folder: Path, batches: TrainingBatches, network: FusionNetwork, device: torch.device) -> FeatureCache:
    """Open the cache of a training, and compute what is missing.

    Raises:
        InputError: when the folder holds the cache of another training, or cannot be written.
    """
    make_folder(folder)
    crops = _Crops(batches)
    count = len(crops) * batches.batch
    state: dict[str, Any] = {"training": _fingerprint(batches.config, network), "batches": 0}
    if (folder / STATE).is_file():
        saved = read_json(folder / STATE)
        if not isinstance(saved, dict) or saved.keys() != state.keys() or saved["training"] != state["training"]:
            raise InputError(f"{folder}: is the cache of another training; name another, or delete it")
        state = saved
    cache = FeatureCache.open(folder, count, network, batches.config.training.cached, new=not state["batches"])
    write_atomically(folder / STATE, json.dumps(state))
    engine = create_engine("auto", network, device, precision="bf16")
    columns = (TextColumn("running the backbone"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=count, completed=state["batches"] * batches.batch)
        for batch in training_loader(crops, state["batches"], batches.config.training.workers):
            rows = slice(state["batches"] * batches.batch, (state["batches"] + 1) * batches.batch)
            _compute(cache, rows, batch, engine)
            state["batches"] += 1
            progress.update(task, completed=rows.stop)
            if state["batches"] % 20 == 0 or state["batches"] == len(crops):
                write_atomically(folder / STATE, json.dumps(state))
    return cache


def _compute(cache: FeatureCache, target: slice, batch: Batch, engine: TorchEngine) -> None:
    cache.rows[target], cache.maps[target] = batch["rows"].numpy(), batch["maps"].numpy()
    cache.flipped[target] = batch["flipped"].numpy()
    if "stride16" in cache.outputs:
        for name, values in engine.call("encode_stages", batch["crops"])._asdict().items():
            cache.outputs[name][target] = values.float().cpu().numpy()
    else:
        for view, evidence in enumerate(engine.call("encode_both", batch["crops"])):
            for name, values in evidence._asdict().items():
                cache.outputs[name][target, view] = values.float().cpu().numpy()
    estimate = engine.call("estimate", batch["worse"])
    poses = estimate.float().cpu().numpy()
    inverse = geometry.invert(batch["worse_maps"].numpy())
    cache.guesses[target, :, :2] = geometry.transform(poses[..., :2].astype(np.float64), inverse)
    cache.guesses[target, :, 2] = poses[..., 2]


def _fingerprint(config: Config, network: FusionNetwork) -> str:
    """Hash everything that the cached outputs depend on: the crops and the weights of the backbone.

    Input poses are not cached, so their options may change.
    """
    spec = config.model_dump(mode="json")
    used: dict[str, Any] = {name: spec[name] for name in ("seed", "skeleton", "train", "augmentation", "synthesis")}
    used["model"] = {name: spec["model"][name] for name in ("input_size", "box_padding")}
    used["training"] = {name: spec["training"][name] for name in ("batch", "cached")}
    for source in used["train"]:
        del source["observed"], source["held_out"]
    used["synthesis"] = {"leg_occlusion": used["synthesis"]["leg_occlusion"]}
    digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode())
    for name, weights in network.backbone.state_dict().items():
        digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class _Crops(Batches):
    """Batches of the crops of an epoch, including held-out people, and of worse crops of the same people."""

    def __init__(self, batches: TrainingBatches) -> None:
        super().__init__(batches.rows_of_epoch(held_out=True), batches.seed, batches.batch)
        self._good, self._worse = batches, batches.augmented(**WORSE)

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, 0, index])
        rows = self.rows(index)
        crops, _, maps, flipped = self._good.draw_crops(rows, rng)
        worse, _, worse_maps, _ = self._worse.draw_crops(rows, rng)
        return {
            "rows": torch.from_numpy(rows),
            "maps": torch.from_numpy(maps),
            "flipped": torch.from_numpy(flipped),
            "crops": torch.from_numpy(crops).permute(0, 3, 1, 2),
            "worse": torch.from_numpy(worse).permute(0, 3, 1, 2),
            "worse_maps": torch.from_numpy(worse_maps),
        }


class CachedBatches(Batches):
    """Batches of cached crops with new input poses in each epoch; a pure function of seed, epoch and index."""

    def __init__(self, batches: TrainingBatches, cache: FeatureCache) -> None:
        self._batches, self._cache = batches, cache
        self.people = batches.people
        super().__init__(np.flatnonzero(np.isin(cache.rows, batches.trained_on)), batches.seed, batches.batch)

    def __getitem__(self, index: int) -> Batch:
        entries = np.sort(self.rows(index))
        rng = np.random.default_rng([self.seed, self.epoch, index])
        cache, rows = self._cache, self._cache.rows[entries]
        inputs = self._batches.inputs.draw(rows, rng, cache.guesses[entries])
        batch = self._batches.poses(rows, cache.maps[entries], inputs, rng, cache.flipped[entries])
        view = (rng.random(len(entries)) < AVERAGED).astype(int)
        share = self.share
        batch = {name: values[share] for name, values in batch.items()}
        for name, values in cache.outputs.items():
            rows_of = values[entries[share]] if "stride16" in cache.outputs else values[entries[share], view[share]]
            batch[name] = torch.from_numpy(rows_of).float()
        return batch
