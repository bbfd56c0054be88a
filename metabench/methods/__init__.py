"""Methods under comparison: the registry. The protocol is in :mod:`metabench.methods.base`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metabench.registry import Registry

if TYPE_CHECKING:  # names are looked up without torch
    from metabench.methods.base import Method

MEMBERS = {
    "optimisation": {
        "maml": "MAML",
        "fomaml": "FOMAML",
        "reptile": "Reptile",
        "anil": "ANIL",
        "boil": "BOIL",
        "meta_sgd": "MetaSGD",
        "maml_plus_plus": "MAMLPlusPlus",
        "unicorn_maml": "UnicornMAML",
        "imaml": "IMAML",
        "r2d2": "R2D2",
        "metaoptnet": "MetaOptNet",
    },
    "metric": {
        "protonet": "ProtoNet",
        "matching_net": "MatchingNet",
        "relation_net": "RelationNet",
        "mahalanobis": "Mahalanobis",
        "feat": "FEAT",
        "frn": "FRN",
        "dn4": "DN4",
    },
    "model": {
        "mann": "MANN",
        "snail": "SNAIL",
        "cnp": "CNP",
        "anp": "ANP",
        "icl_transformer": "ICLTransformer",
        "caml": "CAML",
    },
    "feature": {
        "linear_probe": "LinearProbe",
        "simpleshot": "SimpleShot",
        "knn": "KNN",
        "pca_knn": "PCAKNN",
        "lda": "LDA",
        "ridge": "Ridge",
        "baseline_plus_plus": "BaselinePlusPlus",
        "rfs": "RFS",
    },
    "parameter": {
        "fine_tune": "FineTune",
        "last_block": "LastBlock",
        "norm_bias": "NormBias",
        "l2_sp": "L2SP",
        "gradual_unfreezing": "GradualUnfreezing",
        "lp_ft": "LPFT",
        "adapters": "Adapters",
        "ensemble": "Ensemble",
        "lm_fine_tune": "LMFineTune",
        "lm_last_block": "LMLastBlock",
        "bitfit": "BitFit",
        "lora": "LoRA",
        "setfit": "SetFit",
    },
    "control": {
        "tfidf": "Tfidf",
        "tfidf_neighbour": "TfidfNeighbour",
        "scratch": "Scratch",
        "nearest_neighbour": "NearestNeighbour",
        "random_features": "RandomFeatures",
        "majority": "Majority",
        "oracle": "Oracle",
    },
    "hybrid": {
        "meta_baseline": "MetaBaseline",
        "proto_maml": "ProtoMAML",
        "mtl": "MTL",
        "pmf": "PMF",
        "frn_pretrained": "PretrainedFRN",
    },
    "transductive": {
        "tim": "TIM",
        "bd_cspn": "BDCSPN",
        "laplacian_shot": "LaplacianShot",
        "pt_map": "PTMAP",
        "transductive_fine_tune": "TransductiveFineTune",
    },
}
"""The methods of each family: name and class. A method's module has its name."""

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        name: f"metabench.methods.{family}.{name}:{cls}"
        for family, members in MEMBERS.items()
        for name, cls in members.items()
    },
    group="metabench.methods",
    base="metabench.methods.base:Method",
    renamed={
        "learns_from": "source_training (episodic, supervised or none)",
        "any_ways": "variable_ways",
        "ordered": "order_sensitive",
        "finish": "fit_source_statistics",
    },
)
