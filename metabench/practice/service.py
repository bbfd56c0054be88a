"""The MLflow model ("model from code"): support and queries in one request, answers in one reply.

A request holds tasks; each is answered by a learner that adapts to that task's support::

    {"inputs": [{"support_x": [...], "support_y": ["cat", "dog", ...], "query_x": [...]}]}

An image is an array (``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``) or an image file in base64, both
read by :func:`metabench.data.images.read_image`; a text is a string; a vector is a list of numbers.
The reply names a label and probabilities for each query.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from metabench.data.images import decode_base64
from metabench.files import InputError
from metabench.methods.base import Diverged
from metabench.practice import gate
from metabench.practice.estimator import FewShotClassifier
from metabench.practice.gate import FewShotTask, Refused

# an example or a label may be of any type: each is checked when its task is answered
warnings.filterwarnings("ignore", ".*Any type hint is inferred")


class FewShotModel(PythonModel):
    """Answers each task by a learner that no request changes."""

    def load_context(self, context: Any) -> None:
        """Open the learner that was logged with the model, and guard the server that does so."""
        trust = (getattr(context, "model_config", None) or {}).get("trust", ())
        self.classifier = FewShotClassifier.from_run(context.artifacts["learner"], trust=trust)
        gate.install()

    def predict(
        self, context: Any, model_input: list[FewShotTask], params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """``labels`` ``[Q]``, ``classes`` ``[K]`` and ``probabilities`` ``[Q, K]`` of each task.

        Raises:
            Refused: a task is too large, or cannot be answered.
        """
        images = self.classifier.learner_.task.kind == "image"
        gate.measure(model_input, self.classifier.example_shape, images)
        return [self._predict_task(task) for task in model_input]

    def _predict_task(self, task: FewShotTask) -> dict[str, Any]:
        try:
            support_y = _labels(task.support_y)
            fitted = copy.copy(self.classifier).fit(self._examples(task.support_x), support_y)
            probabilities = fitted.predict_proba(self._examples(task.query_x))
        except (ValueError, TypeError, OverflowError, InputError, Diverged) as error:
            raise Refused(str(error)) from error
        return {
            "labels": fitted.classes_[probabilities.argmax(1)].tolist(),
            "classes": fitted.classes_.tolist(),
            "probabilities": probabilities.tolist(),
        }

    def _examples(self, examples: list[Any]) -> list[Any]:
        if self.classifier.learner_.task.kind != "image":
            return examples
        # a string is never taken for the path of a file of the server
        return [decode_base64(x) if isinstance(x, str) else x for x in examples]


def _labels(labels: list[Any]) -> list[Any]:
    kinds = {type(label) for label in labels}
    if len(kinds) > 1 or not kinds <= {bool, int, float, str}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"support_y: labels must all be of one type, these are {names}")
    if any(isinstance(label, str) and label.endswith("\0") for label in labels):
        raise ValueError("support_y: a label ends in a zero character, which numpy would drop")
    return labels


set_model(FewShotModel())
