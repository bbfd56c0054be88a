"""A trained learner as a scikit-learn classifier: ``fit`` on a support set, then ``predict``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from metabench.config import BackboneChoice
from metabench.data.base import LENGTH
from metabench.data.formats import to_input
from metabench.data.images import as_batch
from metabench.data.text import tokens_of
from metabench.episodes import Episodes
from metabench.methods.base import Diverged
from metabench.pipeline.embeddings import embed, is_frozen
from metabench.registry import Trust
from metabench.runtime import pick_device
from metabench.tracking.models import open_run

CHUNK = 500
"""Queries answered at once by a learner that answers each by itself."""


class FewShotClassifier(ClassifierMixin, BaseEstimator):
    """A meta-learned or pretrained learner behind scikit-learn's interface.

    ``fit`` keeps the labelled examples, the support; ``predict`` adapts to it and answers. Any
    number of examples per class will do, equal or not, with labels of any kind that scikit-learn
    takes. What an example is depends on what the learner was trained on: an image is whatever
    :func:`metabench.data.images.read_image` reads: a path, the bytes of a file, a PIL image or an
    array of any size (content bright on dark, unless ``metabench bench`` found yours to be the
    reverse); a text is a string, a vector is a row of floats. A warning says what of images is
    lost: colour where the learner takes grey, transparency, depth, further frames.

    Where the learner's settings differ by shots, those for the smallest class are taken.

    A transductive learner answers the queries of one call together: its answers depend on them.

    Args:
        run: folder ``runs/<source>/<method>/<level>/<seed>``, or the id of an MLflow run.
        device: ``auto``, ``cpu`` or ``cuda``.
        trust: whether a method or backbone that the run names by a dotted path may be imported,
            which runs its code: all (True), none, or those in a list. Registered names need none.

    Attributes:
        classes_: the distinct labels.
        learner_: the trained method; ``cell_``: how it was trained.
    """

    def __init__(self, run: str | Path, device: str = "auto", trust: Trust = False):
        self.run = run
        self.device = device
        self.trust = trust

    @classmethod
    def from_run(
        cls, run: str | Path, device: str = "auto", trust: Trust = False
    ) -> FewShotClassifier:
        """The classifier of ``run``, which is opened at once.

        Raises:
            InputError: see :func:`open_run`.
        """
        found = cls(run, device, trust)
        found._open()
        return found

    def _open(self) -> None:
        if getattr(self, "_opened", None) != self.run:
            self.learner_, self.cell_ = open_run(self.run, self.trust)
            self._opened = self.run

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Of an example before any frozen encoder: ``(C, H, W)``, ``(L,)`` or ``(D,)``."""
        return tuple(self.cell_.get("example_shape") or self.cell_["input_shape"])

    def fit(self, X: Any, y: Any) -> FewShotClassifier:
        """Take ``X`` (N examples) and ``y`` (N labels) as the support.

        Raises:
            ValueError: not examples of the learner's kind, or labels that it cannot tell apart.
            InputError: the run cannot be opened.
        """
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        self._open()
        x = self._examples(X, reset=True)
        y = column_or_1d(y, warn=True)
        check_consistent_length(x, y)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        ways = len(self.classes_)
        if ways < 2:
            raise ValueError(f"needs at least 2 classes, the labels hold {ways} class")
        if not self.learner_.variable_ways and ways != self.learner_.task.ways:
            raise ValueError(
                f"{self.cell_['method']} was trained for {self.learner_.task.ways} classes and "
                f"takes no other number, the labels hold {ways} classes"
            )
        self.support_x_, self.support_y_ = x, torch.from_numpy(labels)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities ``[N, classes]``, columns in the order of ``classes_``."""
        check_is_fitted(self, "classes_")
        x = self._examples(X, reset=False)
        if not len(x):
            return np.empty((0, len(self.classes_)))
        whole = self.learner_.transductive
        parts = [self._logits(part) for part in ([x] if whole else x.split(CHUNK))]
        return torch.cat(parts).softmax(-1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each example."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def _logits(self, queries: Tensor) -> Tensor:
        """Logits ``[N, classes]``, adapted to the support in one task."""
        device = pick_device(self.device, "device")
        episode = Episodes(
            support_x=to_input(self.support_x_)[None],
            support_y=self.support_y_[None],
            query_x=to_input(queries)[None],
            query_y=torch.zeros((1, len(queries)), dtype=torch.int64),
            ways=len(self.classes_),
        )
        shots = int(self.support_y_.bincount().min())
        with torch.no_grad(), self.learner_.adapting(shots):
            logits = self.learner_.to(device).predict(episode.to(device))[0].double().cpu()
        if not logits.isfinite().all():
            raise Diverged(f"{self.cell_['method']}: predictions are not finite on this support")
        return logits

    def _examples(self, X: Any, reset: bool) -> Tensor:
        """Examples as the learner reads them: ``[N, C, H, W]`` uint8 or ``[N, D]`` float32."""
        shape = self.example_shape
        if self.learner_.task.kind == "image":
            batch = as_batch(X, shape, self.cell_.get("white", {}) if reset else self.white_)
            if reset:
                self.white_: dict[str, float] = batch.white
            for loss, count in batch.losses.items():
                warnings.warn(f"{count} of {len(batch.x)} images are {loss}", stacklevel=3)
            return self._read(255 - batch.x if self.cell_.get("invert") else batch.x)
        if self.learner_.task.kind == "text":
            return self._texts(X)
        x = validate_data(self, X, dtype=np.float32, reset=reset)
        if x.shape[1] != shape[0]:
            raise ValueError(f"X has {x.shape[1]} features, the learner was trained on {shape[0]}")
        return torch.from_numpy(x)

    def _texts(self, X: Any) -> Tensor:
        """Word pieces ``[N, L]``, or vectors ``[N, D]`` of the encoder that the learner reads."""
        texts = list(X)
        if isinstance(X, str) or not all(isinstance(text, str) for text in texts):
            raise ValueError("X must be a list of texts, which the learner was trained on")
        read = tokens_of(texts, self.cell_.get("pieces", LENGTH))
        for remark in read.remarks():
            warnings.warn(remark, stacklevel=4)
        return self._read(torch.from_numpy(read.x))

    def _read(self, examples: Tensor) -> Tensor:
        """Stored examples, or their vectors ``[N, D]`` where the learner's backbone reads these."""
        backbone = BackboneChoice.model_validate(self.cell_["backbone"])
        if not len(examples) or not is_frozen(backbone):
            return examples
        return torch.from_numpy(embed(backbone, examples.numpy()))

    def __getstate__(self) -> dict[str, Any]:
        if hasattr(self, "learner_"):
            self.learner_.cpu()  # a pickle opens on machines without this one's GPU
        state: dict[str, Any] = super().__getstate__()
        return state
