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

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel
from pydantic import BaseModel

from metabench.data.images import decode_base64
from metabench.estimator import FewShotClassifier

# an example or a label may be of any type: each is checked when its task is answered
warnings.filterwarnings("ignore", ".*Any type hint is inferred")


class FewShotTask(BaseModel):
    """One task: labelled examples, and the queries to answer."""

    support_x: list[Any]
    support_y: list[Any]
    query_x: list[Any]


class FewShotModel(PythonModel):
    """Answers each task by a learner that no request changes."""

    def load_context(self, context: Any) -> None:
        """Open the learner that was logged with the model."""
        self.classifier = FewShotClassifier.from_run(context.artifacts["learner"])

    def predict(
        self, context: Any, model_input: list[FewShotTask], params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """``labels`` ``[Q]``, ``classes`` ``[K]`` and ``probabilities`` ``[Q, K]`` of each task."""
        return [self._answer(task) for task in model_input]

    def _answer(self, task: FewShotTask) -> dict[str, Any]:
        try:
            fitted = copy.copy(self.classifier).fit(self._examples(task.support_x), task.support_y)
            probabilities = fitted.predict_proba(self._examples(task.query_x))
        except ValueError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error
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


set_model(FewShotModel())
