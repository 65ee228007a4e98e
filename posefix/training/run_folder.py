"""The folder of a training run: its state, for resuming, and its log."""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch

from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.core.resources import validated

STATE_FILE, MODEL_FILE, LOG_FILE = "state.pt", "model.safetensors", "log.jsonl"


class ResumableTraining(ABC):
    """A training of one configuration in one folder that can be interrupted and resumed with the same losses.

    Attributes:
        folder: contains weights, state and log.
        device: device that runs the network.
        step: number of steps trained, in ``seconds``.
        CONFIGURATION: name of the attribute with the configuration, whose ``decisive()`` a resumed run must share.
        PARTS: names of the attributes whose states are saved.
    """

    CONFIGURATION: ClassVar[str]
    PARTS: ClassVar[tuple[str, ...]] = ("network", "optimizer")
    folder: Path
    device: torch.device
    step: int = 0
    seconds: float = 0.0

    @abstractmethod
    def fit(self, minutes: float | None = None) -> bool:
        """Train to the last step; stop early and save after ``minutes`` or on Ctrl-C. Returns whether it finished."""

    def save_state(self) -> None:
        """Write the state for resuming, atomically."""
        state = {name: getattr(self, name).state_dict() for name in self.PARTS}
        configuration = getattr(self, self.CONFIGURATION).model_dump(mode="json")
        state |= {"step": self.step, "seconds": self.seconds, self.CONFIGURATION: json.dumps(configuration)}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.folder / STATE_FILE, buffer.getvalue())

    def resume(self) -> bool:
        """Load the state in the folder; returns whether there is one.

        Raises:
            InputError: when the state is damaged, does not fit, or is of another configuration.
        """
        path = self.folder / STATE_FILE
        if not path.is_file():
            return False
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            configuration = getattr(self, self.CONFIGURATION)
            saved = validated(type(configuration), json.loads(state[self.CONFIGURATION]), str(path)).fixed_options()
            for name, value in configuration.fixed_options().items():
                if saved[name] != value:
                    message = f"{path}: was trained with another {name} ({saved[name]!r:.200}, now {value!r:.200})"
                    raise InputError(f"{message}; choose another --out to start anew")
            for name in self.PARTS:
                getattr(self, name).load_state_dict(state[name])
            self.step, self.seconds = state["step"], state["seconds"]
        except InputError:
            raise
        except Exception as error:  # damaged files make the unpickler raise anything
            raise InputError(f"{path}: not a readable training state ({type(error).__name__})") from None
        return True

    def log(self, **entry: Any) -> None:
        """Append a line of JSON to the log."""
        entry = {"step": self.step, "seconds": round(self.seconds, 1), **entry}
        rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in entry.items()}
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(rounded) + "\n")
