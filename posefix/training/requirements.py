"""Files that a training needs: all of them are looked for before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from posefix.core.errors import InputError
from posefix.training.config import Config, data_root

SHOWN = 3
MOVENET_HELP = "model.pretrained is MoveNet's published ONNX file (the model card says where it comes from)"
DATA_HELP = (
    "{{data}} in a configuration is $POSEFIX_DATA, now {root}; put COCO's annotations and images there, or name yours: "
    "'train=[{{annotations: A.json, images: FOLDER}}]' 'evaluation=[]'"
)


def require_files(config: Config, resumed: bool = False) -> None:
    """Check that everything a configuration names is there.

    Args:
        config: the experiment.
        resumed: whether there is a state to go on from, which holds the first weights itself.

    Raises:
        InputError: naming what is missing, and how to come by it.
    """
    weights = [] if resumed and config.training.cache is None else list(_weights(config))
    data = list(_data(config))
    lacking = [path for path in dict.fromkeys([*weights, *data]) if not Path(path).exists()]
    if not lacking:
        return
    more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
    help_ = []
    if config.model.head == "fusion" and config.model.pretrained in lacking:
        help_.append(MOVENET_HELP)
    if any(path in lacking for path in data):
        help_.append(DATA_HELP.format(root=data_root()))
    said = "".join(f"; {text}" for text in help_)
    raise InputError(f"{config.name}: needs files that are not here: {', '.join(lacking[:SHOWN])}{more}{said}")


def _weights(config: Config) -> Iterator[str]:
    if config.training.init is not None:
        if config.training.init.endswith(".safetensors"):  # otherwise the name of shipped weights
            yield config.training.init
    elif config.model.pretrained and config.model.pretrained != "imagenet":
        yield config.model.pretrained


def _data(config: Config) -> Iterator[str]:
    for source in config.train:
        yield from (source.annotations, source.images, *source.observed)
    if config.training.evaluate_every:
        for measured in config.evaluation:
            yield from (measured.annotations, measured.images, measured.results)
