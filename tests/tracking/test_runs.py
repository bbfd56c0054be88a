"""MLflow: what a run holds, what happens when the server is away, what is logged once."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.tracking.context import registry as context

from metabench import FewShotClassifier
from metabench.files import InputError
from metabench.pipeline.cells import train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.results import collect
from metabench.tracking import best, models, runs, store
from metabench.tracking.runs import track_cell
from metabench.tracking.view import page_of
from tests.toy import TOY_NAME, prepared, toy_config

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
METHODS = {"protonet": {"ways": 5, "queries": 3}, "linear_probe": {}, "mann": {}}


def silent(share: float, text: str) -> None:
    pass


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with one learner that trained, one that did not, and one of fixed ways."""
    from metabench.pipeline.cells import pretrain_cell
    from metabench.pipeline.part import WHOLE

    config = toy_config(settings={TOY_NAME: METHODS})
    evaluation = config.classification.evaluation.model_copy(update={"metrics": ("macro_f1",)})
    changes = {"methods": tuple(METHODS), "evaluation": evaluation}
    task_type = config.classification.model_copy(update=changes)
    config = config.model_copy(update={"classification": task_type})
    layout = prepared(tmp_path_factory.mktemp("project"), config)
    for source, pretraining, _, seed in WHOLE.backbones(config):
        pretrain_cell(silent, config, layout, source, pretraining, seed)
    for method in METHODS:
        train_cell(silent, config, layout, TOY_NAME, method, 0)
        evaluate_cell(silent, config, layout, TOY_NAME, method, 0)
    return config, layout


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """A store with its tables and nothing in them; making the tables takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def here(tmp_path, empty_store, monkeypatch) -> MlflowClient:
    """A working folder of its own with an empty local store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, "mlflow.db")
    return MlflowClient(tracking_uri=store.default_uri())


def runs_of(client: MlflowClient, kind: str) -> list:
    experiment = client.get_experiment_by_name("metabench-toy")
    return client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'")


def test_a_cell_is_one_run_with_curve_costs_scores_datasets_and_the_learner(project, here) -> None:
    config, layout = project
    for _ in range(2):  # the second finds it logged
        track_cell(config, layout, TOY_NAME, "protonet", 0)
    (run,) = runs_of(here, "cell")
    assert (
        run.info.status == "FINISHED"
        and run.info.run_name == f"{TOY_NAME}/protonet/400-examples/s0"
    )
    assert run.data.tags["family"] == "metric" and run.data.tags["source"] == TOY_NAME
    assert {"cost/train_seconds", "cost/adapt_ms", "curve/val"} <= set(run.data.metrics)
    scores, setting = pd.read_parquet(layout.result(TOY_NAME, "protonet", 0)), "tests.toy.TOY.5w1s"
    scores = scores[scores["partition"] == "test"]
    for name, column in {"acc": "value", "nll": "nll", "macro_f1": "macro_f1"}.items():
        assert run.data.metrics[f"{name}/{setting}"] == pytest.approx(scores[column].mean())
    assert run.data.tags["machine.torch"] in torch.__version__
    assert run.data.tags["trained_on.threads"] == str(torch.get_num_threads())
    curve = here.get_metric_history(run.info.run_id, "curve/val")
    assert [m.step for m in curve] == sorted({m.step for m in curve}) and len(curve) == 4
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.digest and used.tags[0].value == "source"
    fitted = FewShotClassifier.from_run(run.info.run_id)
    assert fitted.cell_["method"] == "protonet"
    with pytest.raises(InputError, match="holds no learner, or cannot be read"):
        FewShotClassifier.from_run("0" * 32)


def test_the_page_of_the_ui_has_a_column_for_each_score_of_a_learner(project, here) -> None:
    config, layout = project
    assert page_of(store.default_uri(), "toy") == "/#/experiments?workflowType=machine_learning"
    track_cell(config, layout, TOY_NAME, "protonet", 0)
    (run,) = runs_of(here, "cell")
    experiment = here.get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(experiment.tags["mlflow.sharedViewState.metabench"])
    scores = [name for name in run.data.metrics if name.startswith("acc/")]
    assert view["selectedColumns"] == [
        *("tags.`source`", "tags.`method`", "tags.`family`", f"metrics.`{scores[0]}`"),
        *("metrics.`cost/train_seconds`", "metrics.`cost/adapt_ms`"),
    ]
    assert view["orderByKey"] == f"metrics.`{scores[0]}`" and not view["orderByAsc"]
    assert page_of(store.default_uri(), "toy") == (
        f"/#/experiments/{run.info.experiment_id}/runs?workflowType=machine_learning"
        "&viewStateShareKey=metabench"
    )


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:9",
        "postgresql://user:s3cret@127.0.0.1:9/mlflow",
        "nonsense://user:s3cret@127.0.0.1",
    ],
)
def test_a_store_that_cannot_be_used_is_one_message(here, uri) -> None:
    with pytest.raises(InputError, match=r"^MLflow's store at .*127\.0\.0\.1") as raised:
        page_of(uri, "toy")
    assert "Set MLFLOW_TRACKING_URI" in str(raised.value) and "s3cret" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium: the page is not looked at in a browser")
def test_the_ui_shows_the_runs_with_the_columns(project, here) -> None:
    config, layout = project
    track_cell(config, layout, TOY_NAME, "protonet", 0)
    Path("params.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    call = [sys.executable, "-m", "metabench", "ui", "--port", str(port)]
    server = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = server.stdout.readline().split()[0]
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.2)
        look = [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            f"--user-data-dir={Path('browser').resolve()}", "--window-size=3000,800",
            "--virtual-time-budget=30000", "--dump-dom", address,
        ]  # fmt: skip
        seen = subprocess.run(look, capture_output=True, text=True, timeout=120, check=True).stdout
    finally:
        server.terminate()
        server.wait(timeout=30)
    columns = re.findall(r'data-testid="sort-header-([^"]*)"', seen)
    assert {"acc/tests.toy.TOY.5w1s", "cost/train_seconds", "cost/adapt_ms"} <= set(columns)
    assert f"{TOY_NAME}/protonet/400-examples/s0" in seen and "viewing a shared view" in seen


def test_an_unreachable_server_costs_seconds_and_the_local_store_has_the_run(
    project, here, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    config, layout = project
    started = time.monotonic()
    with pytest.warns(UserWarning, match="127.0.0.1:9 failed .* safe, using the local store"):
        track_cell(config, layout, TOY_NAME, "linear_probe", 0)
    assert time.monotonic() - started < 30
    assert [run.data.tags["method"] for run in runs_of(here, "cell")] == ["linear_probe"]


def test_not_even_a_broken_local_store_raises(project, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Path("mlflow.db").write_text("no database")
    config, layout = project
    with pytest.warns(UserWarning, match="using no store"):
        track_cell(config, layout, TOY_NAME, "protonet", 0)


def test_the_best_is_chosen_on_val_among_the_servable(project, monkeypatch) -> None:
    config, layout = project
    val = {}
    for method in METHODS:
        scores = pd.read_parquet(layout.result(TOY_NAME, method, 0))
        scores = scores[scores["partition"] == "val"]
        val[method] = scores.groupby(["ways", "shots"])["value"].mean().mean()
    best_open = max(("protonet", "linear_probe"), key=val.__getitem__)  # mann: fixed classes
    _, records = collect(config, layout)
    folder, found = best.best_on_val(config, layout, records, TOY_NAME)
    assert folder == layout.learner(TOY_NAME, best_open, 0)
    assert found == pytest.approx(val[best_open])
    other = {"protonet": "linear_probe", "linear_probe": "protonet"}[best_open]
    leading = [{"5w1s": 2.0} if m == other else {"5w1s": 1.0} for m in records["method"]]
    records = records.assign(val_scores=leading)
    folder, found = best.best_on_val(config, layout, records, TOY_NAME)
    assert (folder, found) == (layout.learner(TOY_NAME, other, 0), 2.0)
    monkeypatch.setattr(best, "PATIENCE_MS", 0.0)
    assert best.best_on_val(config, layout, records, TOY_NAME) is None  # none adapts in no time


def test_report_and_best_learner_are_logged_once_for_each_content(project, here) -> None:
    config, layout = project
    _, records = collect(config, layout)
    reports = layout.root / config.reports
    (reports / "figures").mkdir(parents=True)
    (reports / "leaderboard.md").write_text("# Leaderboard")
    (reports / "figures" / "a.svg").write_text("<svg/>")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(failed|not logged)")
        for _ in range(2):
            best.publish(config, layout, records, "0123abcd+")
    (report,), (winner,) = runs_of(here, "report"), runs_of(here, "best")
    names = [f.path for f in here.list_artifacts(report.info.run_id)]
    assert sorted(names) == ["figures", "leaderboard.md"]
    registered = f"metabench-toy-{TOY_NAME}".replace(":", ".")
    (version,) = here.search_model_versions(f"name='{registered}'")
    assert version.run_id == winner.info.run_id
    assert FewShotClassifier.from_run(winner.info.run_id).cell_["source"] == TOY_NAME
    (reports / "leaderboard.md").write_text("# Another")
    best.publish(config, layout, records, "0123abcd+")
    assert len(runs_of(here, "report")) == 2 and len(runs_of(here, "best")) == 1


@pytest.mark.case("30")
@pytest.mark.parametrize(
    "uri",
    [
        "http://user:s3cret@127.0.0.1:9",
        "http://s3cret@127.0.0.1:9",
        "http://user:s3/cret@127.0.0.1:9",
        "http://127.0.0.1:9/?token=s3cret",
        "postgresql://user:s3cret@127.0.0.1:9/mlflow?password=s3cret",
        "nonsense://user:s3cret@127.0.0.1",
    ],
)
def test_a_password_in_an_address_is_not_printed(here, monkeypatch, uri) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    def knock(uri: str) -> None:
        if "127" in uri:
            raise ConnectionRefusedError(f"{uri}: refused, as s3cret and s3/cret are wrong")

    for module in (store, models):
        monkeypatch.setattr(module, "knock", knock)
    Path("reports").mkdir()
    with pytest.warns(UserWarning, match=r"127\.0\.0\.1") as warned:
        assert runs.log_report(Path("reports"), "toy", "0")  # in the local store
    with pytest.raises(InputError, match=r"127\.0\.0\.1") as raised:
        models.fetch_learner("0" * 32, Path("reports"))
    said = [str(w.message) for w in warned] + [str(raised.value)]
    left = [re.sub(r"as \S+ and \S+ are", "", text) for text in said]
    assert not [text for text in left if "cret" in text]
    assert "***" in said[0] and "refused" in said[0]


LOCATIONS = {"artifact_uri", "artifact_location", "storage_location"}
"""Columns in which a local store says where its own files are."""


@pytest.mark.case("45")
def test_nothing_personal_is_logged_with_the_best_learner(project, here, monkeypatch) -> None:
    config, layout = project
    secrets = ["alice-the-user", "a-host-of-ours", "branch-of-mine", str(Path.cwd())]
    monkeypatch.setenv("LOGNAME", secrets[0])
    monkeypatch.setattr(sys, "argv", [str(Path("stages/aggregate.py").resolve())])
    for provider in context._run_context_provider_registry:
        if hasattr(provider, "_cache"):
            monkeypatch.setattr(provider, "_cache", {})
    own = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for call in (
        ["init", "-q", "-b", secrets[2]],
        ["remote", "add", "origin", f"https://user:token@{secrets[1]}/x"],
        [*own, "commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", *call], check=True)
    Path("stages").mkdir()
    Path("stages/aggregate.py").touch()
    assert secrets[0] in context.resolve_tags().values()  # what MLflow itself would log
    assert f"https://{secrets[1]}/x" in context.resolve_tags().values()
    monkeypatch.setattr(
        best, "best_on_val", lambda *a: (layout.learner(TOY_NAME, "protonet", 0), 0.5)
    )
    track_cell(config, layout, TOY_NAME, "protonet", 0)
    _, records = collect(config, layout)
    best.publish(config, layout, records, "0123abcd+")
    (winner,) = runs_of(here, "best")
    (version,) = here.search_model_versions(f"run_id='{winner.info.run_id}'")
    assert version.source.startswith("models:/")

    secrets += [str(layout.root), str(Path(runs.__file__).parent)]
    with sqlite3.connect("mlflow.db") as store:
        for (table,) in store.execute("select name from sqlite_master where type='table'"):
            cursor = store.execute(f"select * from {table}")
            columns = [column for column, *_ in cursor.description]
            for row in cursor:
                told = {c: str(v) for c, v in zip(columns, row, strict=True) if c not in LOCATIONS}
                assert not [s for s in secrets for v in told.values() if s in v], (table, told)
    for path in Path("mlruns").rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode(errors="replace")
            assert not [secret for secret in secrets if secret in text], path
