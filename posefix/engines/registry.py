"""Which engine runs a network."""

from __future__ import annotations

import warnings

import torch

from posefix.core.errors import InputError
from posefix.engines.compiled import OnnxRuntimeEngine, OpenVinoEngine, UnusableEngine
from posefix.engines.torch import TorchEngine
from posefix.models.interface import RefinementNetwork

_BY_NAME = {engine.name: engine for engine in (OpenVinoEngine, OnnxRuntimeEngine, TorchEngine)}  # fastest first
ENGINES = ("auto", *_BY_NAME)


def usable_device(device: str | torch.device) -> torch.device:
    """The device of a name such as ``cpu`` or ``cuda:0``; InputError if nothing can be computed there."""
    try:
        probe = torch.zeros(1, device=device)
        probe.item()  # on the device meta there is nothing to compute with
        return probe.device
    except (RuntimeError, AssertionError) as error:
        told = str(device).startswith("cuda") and str(error)  # of others torch lists all that it knows
        reason = f" ({told.splitlines()[0]:.100})" if told else ""
        raise InputError(
            f"device {str(device)!r:.40} cannot be used here{reason}: give cpu, or cuda:0 if there is a GPU"
        ) from None


def create_engine(
    name: str, network: RefinementNetwork, device: str | torch.device, precision: str = "auto"
) -> TorchEngine:
    """Make an engine that runs a copy of a network, for inference only.

    Args:
        name: one of ``ENGINES``; ``auto`` is the fastest that is installed and can run the network.
        network: stays as it is.
        device: where the network runs, such as ``cpu`` or ``cuda:0``.
        precision: ``f32``, ``bf16``, or ``auto`` for the faster one; OpenVINO alone has a choice.

    Raises:
        InputError: when the engine is unknown, not installed, or cannot run this network, or the device is not there.
    """
    device = usable_device(device)
    if name not in ENGINES:
        raise InputError(f"no engine {name!r:.40}; there are {', '.join(ENGINES)}")
    for engine in _BY_NAME.values() if name == "auto" else ():
        try:
            return engine(network, device, precision)
        except UnusableEngine as error:
            warnings.warn(f"{error}; a slower one is used", stacklevel=2)
        except InputError:  # not installed, or not for this network
            continue
    return _BY_NAME[name](network, device, precision)
