"""Slow: a learner really served over HTTP, and MLflow as a server with PostgreSQL."""

from __future__ import annotations

import base64
import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from PIL import Image

from metabench import FewShotClassifier
from metabench.pipeline.cells import train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.results import collect
from metabench.practice import gate
from metabench.practice.exporting import export
from metabench.tracking import best
from metabench.tracking.runs import track_cell
from tests.toy import TOY_NAME, prepared, toy_config, toy_dataset

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def server(call: list[str], url: str, **options) -> Iterator[None]:
    """Run ``call`` until it answers at ``url``; end it at the end."""
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": binaries, "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(call, env=environment, **options)
    try:
        for _ in range(180):
            assert process.poll() is None, f"{call} ended with {process.returncode}"
            try:
                if requests.get(url, timeout=2).ok:
                    break
            except requests.RequestException:
                time.sleep(0.5)
        else:
            raise AssertionError(f"{call} does not answer at {url}")
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    config = toy_config(seeds=[0, 1, 2, 3])
    layout = prepared(tmp_path_factory.mktemp("project"), config)
    for seed in config.seeds:
        arguments = (lambda share, text: None, config, layout, TOY_NAME, "protonet", seed)
        train_cell(*arguments)
        evaluate_cell(*arguments)
    return config, layout


def test_a_served_learner_answers_over_http_as_the_estimator_does(project, tmp_path) -> None:
    _, layout = project
    run = layout.learner(TOY_NAME, "protonet", 0)
    export(run, tmp_path / "model")
    port = free_port()
    call = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(tmp_path / "model")]
    call += ["--port", str(port), "--env-manager", "local"]
    toy = toy_dataset()
    x, y = toy.x[-36:], np.array(["ä", "b", "c"]).repeat(12)
    shown = [0, 1, 12, 24, 25, 26]
    want = FewShotClassifier.from_run(run).fit(x[shown], y[shown]).predict_proba(x)
    task = {"support_x": x[shown].tolist(), "support_y": y[shown].tolist()}
    files = []
    for image in x:
        file = io.BytesIO()
        Image.fromarray(image[0]).save(file, format="png")
        files.append(base64.b64encode(file.getvalue()).decode())
    url = f"http://127.0.0.1:{port}"
    with server(call, f"{url}/ping"):
        tasks = [task | {"query_x": x.tolist()}, task | {"query_x": files}]
        answer = requests.post(f"{url}/invocations", json={"inputs": tasks}, timeout=60)
        assert answer.status_code == 200, answer.text
        for found in answer.json()["predictions"]:
            np.testing.assert_allclose(found["probabilities"], want, rtol=1e-5)
            assert found["classes"] == ["b", "c", "ä"]
            assert found["labels"] == [found["classes"][i] for i in want.argmax(1)]
        wrong = task | {"query_x": ["no image"]}
        answer = requests.post(f"{url}/invocations", json={"inputs": [wrong]}, timeout=60)
        assert answer.status_code == 400 and "not an image file in base64" in answer.text
        for content in (f'{{"inputs": [{"7" * 5000}]}}', f"{'[' * 1000}{']' * 1000}", "x" * 10_000):
            answer = requests.post(f"{url}/invocations", content, headers=JSON, timeout=60)
            assert answer.status_code == 400 and 20 < len(answer.text) < 1500
        with suppress(requests.ConnectionError):  # the server may hang up before all is sent
            answer = requests.post(
                f"{url}/invocations", b" " * (gate.REQUEST + 1), headers=JSON, timeout=60
            )
            assert answer.status_code == 413
        answer = requests.post(f"{url}/invocations", json={"inputs": tasks}, timeout=60)
        assert answer.status_code == 200  # as if nothing had been


@pytest.fixture
def postgres(tmp_path) -> Iterator[str]:
    """A PostgreSQL server of the test's own; its URL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    folder = found[-1] if found else None
    if folder is None or shutil.which("psql") is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    as_user = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        as_user = ["runuser", "-u", "postgres", "--"]
    home = Path(subprocess.check_output([*as_user, "mktemp", "-d"], text=True, cwd="/").strip())
    port = free_port()

    def call(*words: str) -> None:
        subprocess.run([*as_user, *words], check=True, cwd="/", stdout=subprocess.DEVNULL)

    control = [str(folder / "pg_ctl"), "-D", str(home / "data"), "-w"]
    call(str(folder / "initdb"), "-D", str(home / "data"), "-A", "trust", "-U", "metabench")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {home}"
    call(*control, "-o", options, "-l", str(home / "log"), "start")
    try:
        yield f"postgresql+psycopg2://metabench@127.0.0.1:{port}/postgres"
    finally:
        call(*control, "-m", "fast", "stop")
        call("rm", "-r", str(home))


def test_concurrent_writers_log_to_a_server_with_postgresql(
    project, postgres, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("psycopg2", reason="no driver: pip install psycopg2-binary")
    config, layout = project
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    call = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", postgres]
    call += ["--artifacts-destination", str(tmp_path / "artifacts"), "--port", str(port)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    with server(call, f"{url}/health", cwd=tmp_path):
        with ThreadPoolExecutor(4) as writers:
            jobs = [
                writers.submit(track_cell, config, layout, TOY_NAME, "protonet", seed)
                for seed in config.seeds
            ]
            for job in jobs:
                job.result()
        best.publish(config, layout, collect(config, layout)[1], "0123456789")
        client = MlflowClient(tracking_uri=url)
        experiment = client.get_experiment_by_name("metabench-toy")
        runs = client.search_runs([experiment.experiment_id])
        kinds = [run.data.tags["kind"] for run in runs]
        assert sorted(kinds) == ["best"] + ["cell"] * 4 + ["report"]
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in runs:
            if run.data.tags["kind"] == "cell":
                assert len(client.get_metric_history(run.info.run_id, "curve/val")) == 4
                opened = FewShotClassifier.from_run(run.info.run_id)
                assert opened.cell_["seed"] == int(run.data.tags["seed"])
        assert list((tmp_path / "artifacts").rglob("model.safetensors"))
    assert not (tmp_path / "mlflow.db").exists()  # nothing fell back
