"""The checkpoint of one training, as a file: what makes a killed cell go on where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch

from metabench.files import DAMAGED, InputError, atomic
from metabench.learning.training import Resumed, Snapshot


@dataclass(frozen=True)
class CheckpointFile:
    """Keeps the last snapshot of a training in ``path``."""

    path: Path

    def save(self, snapshot: Snapshot) -> None:
        """Replace what was kept; a crash leaves either this snapshot or the one before."""
        with atomic(self.path) as temporary:
            torch.save(snapshot, temporary)

    def load(self, restore: Callable[[Snapshot], Resumed]) -> Resumed | None:
        """What ``restore`` makes of the last snapshot; None where there is none.

        Raises:
            InputError: the file is damaged. It is set aside, so that the next run starts again.
        """
        if not self.path.exists():
            return None
        try:
            return restore(torch.load(self.path, weights_only=True))
        except (*DAMAGED, RuntimeError, UnpicklingError) as error:
            aside = self.path.with_suffix(".damaged")
            self.path.replace(aside)
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{self.path}: damaged checkpoint ({reason}), set aside as {aside.name}. Run "
                "`dvc repro` again: this cell trains from its start."
            ) from error
