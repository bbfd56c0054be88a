"""Methods under comparison: the registry. The protocol is in :mod:`metabench.methods.base`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metabench.registry import Registry

if TYPE_CHECKING:  # names are looked up without torch
    from metabench.methods.base import Method

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "maml": "metabench.methods.maml:MAML",
        "fomaml": "metabench.methods.fomaml:FOMAML",
        "reptile": "metabench.methods.reptile:Reptile",
        "anil": "metabench.methods.anil:ANIL",
        "boil": "metabench.methods.boil:BOIL",
        "meta_sgd": "metabench.methods.meta_sgd:MetaSGD",
        "maml_plus_plus": "metabench.methods.maml_plus_plus:MAMLPlusPlus",
        "imaml": "metabench.methods.imaml:IMAML",
        "r2d2": "metabench.methods.r2d2:R2D2",
        "metaoptnet": "metabench.methods.metaoptnet:MetaOptNet",
        "protonet": "metabench.methods.protonet:ProtoNet",
        "matching_net": "metabench.methods.matching_net:MatchingNet",
        "relation_net": "metabench.methods.relation_net:RelationNet",
        "mahalanobis": "metabench.methods.mahalanobis:Mahalanobis",
        "feat": "metabench.methods.feat:FEAT",
        "frn": "metabench.methods.frn:FRN",
        "dn4": "metabench.methods.dn4:DN4",
        "mann": "metabench.methods.mann:MANN",
        "snail": "metabench.methods.snail:SNAIL",
        "cnp": "metabench.methods.cnp:CNP",
        "anp": "metabench.methods.anp:ANP",
        "icl_transformer": "metabench.methods.icl_transformer:ICLTransformer",
        "linear_probe": "metabench.methods.linear_probe:LinearProbe",
        "simpleshot": "metabench.methods.simpleshot:SimpleShot",
        "knn": "metabench.methods.knn:KNN",
        "lda": "metabench.methods.lda:LDA",
        "ridge": "metabench.methods.ridge:Ridge",
        "baseline_plus_plus": "metabench.methods.baseline_plus_plus:BaselinePlusPlus",
        "rfs": "metabench.methods.rfs:RFS",
        "fine_tune": "metabench.methods.fine_tune:FineTune",
        "last_block": "metabench.methods.last_block:LastBlock",
        "norm_bias": "metabench.methods.norm_bias:NormBias",
        "l2_sp": "metabench.methods.l2_sp:L2SP",
        "gradual": "metabench.methods.gradual:Gradual",
        "lm_fine_tune": "metabench.methods.lm_fine_tune:LMFineTune",
        "lm_last_block": "metabench.methods.lm_last_block:LMLastBlock",
        "bitfit": "metabench.methods.bitfit:BitFit",
        "lora": "metabench.methods.lora:LoRA",
        "setfit": "metabench.methods.setfit:SetFit",
        "tfidf": "metabench.methods.tfidf:Tfidf",
        "tfidf_neighbour": "metabench.methods.tfidf_neighbour:TfidfNeighbour",
        "scratch": "metabench.methods.scratch:Scratch",
        "nearest_neighbour": "metabench.methods.nearest_neighbour:NearestNeighbour",
        "random_features": "metabench.methods.random_features:RandomFeatures",
        "majority": "metabench.methods.majority:Majority",
        "oracle": "metabench.methods.oracle:Oracle",
        "meta_baseline": "metabench.methods.meta_baseline:MetaBaseline",
        "proto_maml": "metabench.methods.proto_maml:ProtoMAML",
        "mtl": "metabench.methods.mtl:MTL",
        "pmf": "metabench.methods.pmf:PMF",
        "tim": "metabench.methods.tim:TIM",
        "bd_cspn": "metabench.methods.bd_cspn:BDCSPN",
        "laplacian_shot": "metabench.methods.laplacian_shot:LaplacianShot",
        "pt_map": "metabench.methods.pt_map:PTMAP",
        "transductive_fine_tune": "metabench.methods.transductive_fine_tune:TransductiveFineTune",
    },
    group="metabench.methods",
    base="metabench.methods.base:Method",
)
