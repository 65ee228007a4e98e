"""Files that a training needs: all of them are looked for before anything is read."""

from __future__ import annotations

from pathlib import Path

from posefix.core.errors import InputError
from posefix.training.config import Config, data_root

SHOWN = 3
MOVENET_HELP = "; model.pretrained is MoveNet's published ONNX file (the model card says where it comes from)"
DATA_HELP = (
    "; {{data}} in a configuration is $POSEFIX_DATA, now {root}; put COCO's annotations and images there, or name "
    "yours: 'train=[{{annotations: A.json, images: FOLDER}}]' 'evaluation=[]'"
)


def require_files(config: Config, resumed: bool = False) -> None:
    """Check that everything a configuration names is there.

    Args:
        config: the experiment.
        resumed: whether there is a state to go on from, which holds the first weights itself.

    Raises:
        InputError: naming what is missing, and how to come by it.
    """
    weights, data = [], []
    if config.model.pretrained not in (None, "imagenet") and not (resumed and config.training.cache is None):
        weights.append(config.model.pretrained)
    for source in config.train:
        data += [source.annotations, source.images, *source.observed]
    if config.training.evaluate_every:
        for measured in config.evaluation:
            data += [measured.annotations, measured.images, measured.results]
    lacking = [path for path in dict.fromkeys([*weights, *data]) if not Path(path).exists()]
    if not lacking:
        return
    said = f"{config.name}: needs files that are not here: {', '.join(lacking[:SHOWN])}"
    if len(lacking) > SHOWN:
        said += f" and {len(lacking) - SHOWN} more"
    if config.model.head == "fusion" and config.model.pretrained in lacking:
        said += MOVENET_HELP
    if any(path in lacking for path in data):
        said += DATA_HELP.format(root=data_root())
    raise InputError(said)
