"""The plan of a run: inputs, outputs and a signature."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from posefix.core.errors import InputError, require
from posefix.core.files import make_folder, require_distinct, require_outputs
from posefix.core.people import People
from posefix.models.checkpoint import DEFAULT
from posefix.models.weights import resolve
from posefix.refine.settings import RefineSettings
from posefix.report.pictures import INDEX
from posefix.run.journal import journal_path


@dataclass(frozen=True)
class Plan:
    """Inputs, outputs and options of a run.

    Attributes:
        results: an estimator's results, a file or a folder.
        images: folder of their images; or
        video: their video.
        fps: frames per second, if the images are the frames of a video, numbered in their names; or in place of the
            video's time stamps.
        annotations: COCO ground truth of the same images.
        out: path of the refined results, in the input format.
        metrics: path of the metrics, JSON.
        visualize: folder for before/after pictures, or for the video with both poses.
        report: path of the HTML report; needs ``annotations``.
        checkpoint: name or path.
        device: such as ``cpu`` or ``cuda:0``; None for a GPU if there is one.
        engine: name of the engine.
        cluster: ``ray`` or ``ray://HOST:PORT`` (:mod:`posefix.run.cluster`); None for this process.
        threads: number of cores; None for torch's default, all of them or ``OMP_NUM_THREADS``.
        format: of the results; ``auto`` to detect it.
        skeleton: of the results, if the format does not define it; a name or a YAML file.
        upright: the results are of images rotated by their EXIF data, although in COCO's format.
        resume: continue an interrupted run.
        temporal: for a video or frames, use neighbouring frames (:mod:`posefix.motion.refining`).
        fill: maximum number of frames for which missing people are filled in.
    """

    results: Path
    images: Path | None = None
    video: Path | None = None
    fps: float | None = None
    annotations: Path | None = None
    out: Path | None = None
    metrics: Path | None = None
    visualize: Path | None = None
    report: Path | None = None
    checkpoint: str = DEFAULT
    device: str | None = None
    engine: str = "auto"
    cluster: str | None = None
    threads: int | None = None
    format: str = "auto"
    skeleton: str | None = None
    upright: bool = False
    resume: bool = False
    temporal: bool = True
    fill: int = 0

    def check(self) -> None:
        """Check before long work that options are consistent and that all outputs are distinct and can be written.

        Raises:
            InputError: naming the option or output.
        """
        if not any((self.out, self.metrics, self.visualize, self.report, self.annotations)):
            raise InputError(
                "there is no output: give --out FILE to write the refined results, --visualize FOLDER "
                "for pictures, --metrics FILE for measurements, or --annotations FILE to see the gain"
            )
        if (self.images is None) == (self.video is None):
            raise InputError("give either --images FOLDER or --video_path FILE")
        if self.fill and not self.over_time:
            frames = "--video_path, or --images with --fps"
            raise InputError(f"--fill is for people of a video: give {frames}, and --temporal auto")
        if self.cluster is not None:
            require("ray", "ray", "--cluster")
            if not re.fullmatch("ray(://.+)?", self.cluster):
                raise InputError(f"--cluster must be ray or ray://HOST:PORT, got {self.cluster!r:.80}")
            if self.video:
                raise InputError("--cluster is for images: the frames of a video are decoded in order, by one machine")
        if self.out is None and self.resume:
            raise InputError("--resume needs --out: the refined people are kept next to the output file")
        if self.report is not None:
            if self.annotations is None:
                raise InputError("--report needs --annotations: without ground truth there is nothing to compare with")
            require("jinja2", "report", "--report")
        journal = None if self.out is None else journal_path(self.out)
        index = None if self.visualize is None else self.visualize / INDEX
        inputs = (self.results, self.images, self.annotations, self.video, Path(self.checkpoint))
        require_distinct((journal, self.out, self.metrics, self.visualize, index, self.report), inputs)
        if self.visualize is not None:
            make_folder(self.visualize)
        require_outputs([self.out], folder=self.results.is_dir())
        require_outputs([self.metrics, index, self.report])

    @property
    def over_time(self) -> bool:
        """Whether neighbouring frames are used."""
        return self.temporal and (self.video is not None or self.fps is not None)

    def signature(self, settings: RefineSettings, engine: str, device: str, people: People) -> str:
        """Hash everything that the results of a run depend on: the content of its inputs, and its options.

        ``people`` are those to refine: which ones, and in which order, also depends on the images that are there.
        """
        source = self.video or self.images
        options: dict[str, object] = {"engine": engine, "device": device, "source": str(source and source.resolve())}
        decisive = "batch_size", "flip_test", "passes", "on_error", "estimator_ap"
        options |= {name: getattr(settings, name) for name in decisive}
        options |= {name: getattr(self, name) for name in ("format", "skeleton", "upright", "temporal", "fill", "fps")}
        digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
        for ids in (people.image_ids, people.track_ids):
            digest.update(ids.tobytes())
        for path in (
            *self._result_files(),
            resolve(self.checkpoint),
            *([self.annotations] if self.annotations else []),
        ):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    def _result_files(self) -> list[Path]:
        """List the files of the results, without the journal of this run."""
        if not self.results.is_dir():
            return [self.results]
        files = (path for path in self.results.iterdir() if path.is_file() and not path.name.startswith("."))
        return sorted(path for path in files if self.out is None or path.name != journal_path(self.out).name)
