"""The gate of a service: what a request may ask for, and how it is refused.

MLflow's scoring server takes requests of any size and depth, and its errors repeat the request. It
has no hook for either, so in its process :func:`install` puts two functions in place of its own.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import scoring_server
from PIL import Image
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

REQUEST = 32 * 2**20
"""Bytes of a request."""
IMAGE, IMAGES = 25_000_000, 250_000_000
"""Pixels of an image file, and of all image files of a request."""
EXAMPLES, NUMBERS = 10_000, 2**27
"""Examples of a request, and the numbers of which they consist once a learner takes them."""
ANSWERS = 2**20
"""Probabilities in a reply."""
WORDS = 500
"""Characters of a refusal."""

_log = logging.getLogger(__name__)


class FewShotTask(BaseModel):
    """One task: labelled examples, and the queries to answer."""

    support_x: list[Any]
    support_y: list[Any]
    query_x: list[Any]

    @property
    def examples(self) -> list[Any]:
        """Support and queries."""
        return [*self.support_x, *self.query_x]


class Refused(MlflowException):
    """A request that is not answered, in words that are short whatever it holds."""

    def __init__(self, why: str, status: int = 400):
        self.status = status
        code = INVALID_PARAMETER_VALUE if status < 500 else INTERNAL_ERROR
        super().__init__(why if len(why) <= WORDS else f"{why[:WORDS]} …", error_code=code)

    def get_http_status_code(self) -> int:
        """As said."""
        return self.status


def measure(tasks: Sequence[FewShotTask], shape: Sequence[int], files: bool) -> None:
    """Refuse more than a service can hold, before any of it is decoded.

    Args:
        shape: of an example as the learner takes it.
        files: whether a string is an image file in base64.

    Raises:
        Refused: naming what there is too much of, and the limit.
    """
    examples = [example for task in tasks for example in task.examples]
    most = min(EXAMPLES, NUMBERS // math.prod(shape))
    if len(examples) > most:
        raise Refused(f"{len(examples)} examples: send at most {most} in a request")
    answers = sum(len({str(y) for y in t.support_y}) * len(t.query_x) for t in tasks)
    if answers > ANSWERS:
        raise Refused(f"{answers} probabilities asked for: ask at most for {ANSWERS} in a request")
    total = 0
    for text in examples if files else ():
        width, height = _size(text)
        total += width * height
        if width * height > IMAGE:
            raise Refused(
                f"an image of {width}×{height}: send at most {IMAGE // 10**6} million pixels"
            )
    if total > IMAGES:
        raise Refused(
            f"images of {total} pixels: send at most {IMAGES // 10**6} million in a request"
        )


def _size(text: Any) -> tuple[int, int]:
    """Width and height by the header of an image file; no file, none: that is told later."""
    with suppress(Exception), Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return image.size
    return 0, 0


def read(content: bytes) -> list[Any]:
    """The tasks in the body of a request.

    Raises:
        Refused: not JSON, or not of the form of a request.
    """
    try:
        body = json.loads(content)
    except RecursionError as error:
        raise Refused("the request is not JSON that can be read: nested too deeply") from error
    except ValueError as error:
        raise Refused(f"the request is not JSON that can be read: {error}") from error
    if not isinstance(body, dict) or set(body) != {"inputs"}:
        raise Refused('a request is an object with one key: {"inputs": [task, ...]}')
    try:
        TypeAdapter(list[FewShotTask]).validate_python(body["inputs"])
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, ('inputs', *problem['loc'])))}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise Refused("; ".join(problems[:5])) from error
    tasks: list[Any] = body["inputs"]
    return tasks


def invocations(data: bytes, content_type: str | None, model: Any, input_schema: Any) -> Any:
    """In place of the scoring server's: the same answers, other refusals."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise Refused("send JSON, with the header Content-Type: application/json", 415)
    tasks = read(data)
    try:
        answers = model.predict(tasks)
    except Refused:
        raise
    except MlflowException as error:
        raise Refused(error.message) from error
    except Exception as error:
        _log.exception("a request was not answered")
        raise Refused("the service failed; its log says why", 500) from error
    content = json.dumps({"predictions": answers})
    return scoring_server.InvocationsResponse(content, 200, "application/json")


_stream = Request.stream


async def stream(request: Request) -> AsyncGenerator[bytes, None]:
    """In place of ``Request.stream``: ends as soon as a request is too large."""
    received = 0
    async for part in _stream(request):
        received += len(part)
        if received > REQUEST:
            raise Refused(f"send at most {REQUEST // 2**20} MB in a request", 413)
        yield part


def install() -> None:
    """Guard the scoring server, if this is its process."""
    if f"{scoring_server.__name__}.app" in sys.modules:
        scoring_server.invocations = invocations
        Request.stream = stream  # type: ignore[assignment, method-assign]
