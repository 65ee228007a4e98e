"""Choose and create engines."""

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
    """Return the device of a name such as ``cpu`` or ``cuda:0``; InputError if it cannot be used."""
    try:
        probe = torch.zeros(1, device=device)
        probe.item()  # fails on the device "meta", which has no data
        return probe.device
    except (RuntimeError, AssertionError) as error:
        message = str(device).startswith("cuda") and str(error)  # for unknown devices torch lists all device types
        reason = f" ({message.splitlines()[0]:.100})" if message else ""
        raise InputError(
            f"device {str(device)!r:.40} cannot be used here{reason}: give cpu, or cuda:0 if there is a GPU"
        ) from None


def create_engine(
    name: str, network: RefinementNetwork, device: str | torch.device, precision: str = "auto"
) -> TorchEngine:
    """Create an engine that runs a copy of a network for inference.

    Args:
        name: one of ``ENGINES``; ``auto`` is the fastest one that is installed and can run the network.
        network: the network; is not modified.
        device: device to run it on, such as ``cpu`` or ``cuda:0``.
        precision: ``f32``, ``bf16``, or ``auto`` for the faster one; only OpenVINO has a choice.

    Raises:
        InputError: when the engine is unknown, not installed, or cannot run this network, or the device is unusable.
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
