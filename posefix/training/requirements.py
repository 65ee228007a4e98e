"""Files that a training needs: all of them are looked for before anything is read."""

from __future__ import annotations

from pathlib import Path

from posefix.core.errors import InputError
from posefix.training.config import Config, data_root

SHOWN = 3
DATA_HELP = (
    "; {{data}} in a configuration is $POSEFIX_DATA, now {root}; put COCO's annotations and images there, or name "
    "yours: 'train=[{{annotations: A.json, images: FOLDER}}]' 'evaluation=[]'"
)


def require_files(config: Config) -> None:
    """Raise InputError unless all data that a configuration names is there, naming what is not, and how to get it."""
    data = []
    for source in config.train:
        data += [source.annotations, source.images, *source.observed]
    if config.training.evaluate_every:
        for measured in config.evaluation:
            data += [measured.annotations, measured.images, measured.results]
    lacking = [path for path in dict.fromkeys(data) if not Path(path).exists()]
    if not lacking:
        return
    said = f"{config.name}: needs files that are not here: {', '.join(lacking[:SHOWN])}"
    if len(lacking) > SHOWN:
        said += f" and {len(lacking) - SHOWN} more"
    raise InputError(said + DATA_HELP.format(root=data_root()))
