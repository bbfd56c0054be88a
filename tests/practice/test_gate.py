"""A learner that goes elsewhere: it serves, carries nothing personal, and stays upright."""

from __future__ import annotations

import asyncio
import base64
import errno
import functools
import getpass
import importlib
import io
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.pyfunc import scoring_server
from PIL import Image
from starlette.requests import Request
from typer.testing import CliRunner

from metabench import FewShotClassifier
from metabench.cli import app
from metabench.practice import gate
from metabench.practice.exporting import export
from tests.learners import rewrite, untrained


@pytest.fixture(scope="module")
def learner(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("learner") / "run")


@pytest.fixture(scope="module")
def exported(learner, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    export(learner, folder)
    return folder


def task(**changes: Any) -> dict[str, Any]:
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16)).tolist()
    return {"support_x": images[:4], "support_y": [1, 1, 2, 2], "query_x": images[4:]} | changes


@pytest.mark.case("38")
def test_an_exported_learner_answers_as_the_estimator_does(learner, exported) -> None:
    asked = task()
    (found,) = mlflow.pyfunc.load_model(str(exported)).predict([asked])
    images = [np.uint8(image) for image in asked["support_x"]]
    fitted = FewShotClassifier.from_run(learner).fit(images, asked["support_y"])
    want = fitted.predict_proba([np.uint8(image) for image in asked["query_x"]])
    np.testing.assert_allclose(found["probabilities"], want, rtol=1e-5)


SPOILT = {
    "cut weights": lambda run: (run / "model.safetensors").write_bytes(b"123"),
    "no weights": lambda run: (run / "model.safetensors").unlink(),
    "an empty cell": lambda run: (run / "cell.json").write_text("{}"),
    "a list": lambda run: (run / "cell.json").write_text("[]"),
    "regression": lambda run: rewrite(
        run, task={"kind": "regression", "ways": 0, "classes": 0, "outputs": 1}
    ),
}


@pytest.mark.case("38")
@pytest.mark.parametrize("what", SPOILT)
def test_what_cannot_serve_is_not_exported(what, learner, tmp_path) -> None:
    run = shutil.copytree(learner, tmp_path / "run")
    SPOILT[what](run)
    answer = CliRunner().invoke(app, ["export", str(run), str(tmp_path / "out")])
    assert answer.exit_code == 1 and answer.output.startswith("error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.case("38")
@pytest.mark.parametrize("there", [False, True])
def test_a_disk_that_fills_up_is_named_and_no_half_of_a_model_is_left(
    there, learner, tmp_path, monkeypatch
) -> None:
    out, write = tmp_path / "out", shutil.copyfile
    if there:
        out.mkdir()

    def full(source: str, target: str, **options: Any) -> str:
        if "methods" in str(target) and str(out) in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, str(target))
        return write(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        answer = CliRunner().invoke(app, ["export", str(learner), str(out)])
    assert answer.exit_code == 1 and "out: the disk is full" in " ".join(answer.output.split())
    assert not out.exists()
    assert CliRunner().invoke(app, ["export", str(learner), str(out)]).exit_code == 0


def test_a_learner_with_code_of_its_own_is_exported_only_if_trusted(learner, tmp_path) -> None:
    run = shutil.copytree(learner, tmp_path / "run")
    rewrite(run, method="metabench.methods.metric.protonet:ProtoNet")
    call = ["export", str(run), str(tmp_path / "out")]
    answer = CliRunner().invoke(app, call)
    assert answer.exit_code == 1 and "would import" in " ".join(answer.output.split())
    assert CliRunner().invoke(app, [*call, "--trust"]).exit_code == 0
    model = mlflow.pyfunc.load_model(str(tmp_path / "out"))  # trusts what its maker trusted
    assert model.predict([task()])[0]["classes"] == [1, 2]


@pytest.mark.case("45")
def test_an_exported_model_says_nothing_of_who_made_it_and_where(exported, learner) -> None:
    personal = [str(learner.parent), str(Path.cwd()), str(Path.home()), str(exported.parent)]
    for path in exported.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode(errors="replace")
            assert not [word for word in personal if word in text], path
    for path in exported.iterdir():
        if path.is_file():
            assert getpass.getuser() not in path.read_text(), path
            assert socket.gethostname() not in path.read_text(), path


def picture(side: int) -> str:
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.case("44")
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(exported, monkeypatch) -> None:
    model = mlflow.pyfunc.load_model(str(exported))
    small = picture(20)
    assert len(model.predict([task(query_x=[small])])[0]["labels"]) == 1
    large = picture(8000)
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(mlflow.MlflowException, match=r"8000×8000: send at most 25 million pixels"):
        model.predict([task(query_x=[large])])


@pytest.fixture(scope="module")
def ask(exported):
    """Send bytes to the server of `mlflow models serve`, here: status and text of the answer."""
    app_name = f"{scoring_server.__name__}.app"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(scoring_server._SERVER_MODEL_PATH, str(exported))
        patch.setenv("MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        patch.setattr(scoring_server, "invocations", scoring_server.invocations)
        patch.setattr(Request, "stream", Request.stream)
        patch.delitem(sys.modules, app_name, raising=False)
        server = importlib.import_module(app_name).app
        yield functools.partial(post, server)
        del sys.modules[app_name]


def post(server: Any, content: bytes, kind: str = "application/json") -> tuple[int, str]:
    scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "path": "/invocations", "raw_path": b"/invocations", "query_string": b"",
            "headers": [(b"content-type", kind.encode())], "client": None, "server": None,
            "scheme": "http", "root_path": "",
        }  # fmt: skip
    sent: list[dict[str, Any]] = []
    parts = [content[i : i + 2**20] for i in range(0, len(content), 2**20)] or [b""]
    incoming = iter(
        {"type": "http.request", "body": part, "more_body": i + 1 < len(parts)}
        for i, part in enumerate(parts)
    )

    async def receive() -> dict[str, Any]:
        return next(incoming, {"type": "http.disconnect"})

    async def keep(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(server(scope, receive, keep))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], body.decode()


def test_a_request_in_order_is_answered(ask) -> None:
    status, text = ask(json.dumps({"inputs": [task()]}).encode())
    assert status == 200 and json.loads(text)["predictions"][0]["classes"] == [1, 2]


HUGE = "7" * 5000
REFUSED = {
    "a whole number of 5,000 digits": f'{{"inputs": [{{"support_x": [{HUGE}]}}]}}',
    "lists in lists": f'{{"inputs": {"[" * 1000}{"]" * 1000}}}',
    "lists that end nowhere": "[" * 100_000,
    "NaN for a pixel": json.dumps({"inputs": [task(query_x=[[[float("nan")]]])]}),
    "pixels of mixed types": json.dumps({"inputs": [task(query_x=[[[1, "a"], [None, 2]]])]}),
    "labels of mixed types": json.dumps({"inputs": [task(support_y=[1, "a", 1, "a"])]}),
    "labels that numpy merges": json.dumps({"inputs": [task(support_y=["a", "b", "a\0", "b"])]}),
    "labels that are none": json.dumps({"inputs": [task(support_y=[{}, {}, [], []])]}),
    "no JSON": "x" * 10_000,
    "a list": "[1]",
    "another form": json.dumps({"instances": [[1, 2]]}),
    "too many examples": json.dumps({"inputs": [task(query_x=[[[0]]] * 10_001)]}),
    "too many answers": json.dumps(
        {"inputs": [task(support_y=list(range(600)), query_x=[0] * 2000)]}
    ),
    "no tasks": json.dumps({"inputs": "x" * 10_000}),
}


@pytest.mark.case("44")
@pytest.mark.parametrize("what", REFUSED)
def test_a_request_of_nonsense_gets_a_400_in_words_that_does_not_echo_it(what, ask) -> None:
    status, text = ask(REFUSED[what].encode())
    assert status == 400 and 20 < len(text) < 1500 and "Traceback" not in text


@pytest.mark.case("44")
def test_a_request_that_is_too_large_or_no_json_is_refused_by_its_size_or_type(ask) -> None:
    assert ask(b" " * (gate.REQUEST + 1))[0] == 413
    for kind in ("text/csv", "application/vnd.apache.parquet", ""):
        assert ask(b"a,b", kind)[0] == 415
