"""Datasets, one file each: the registry. The common types are in :mod:`metabench.data.base`."""

from __future__ import annotations

from metabench.data.base import Builder, ClassInfo, Dataset, RemoteFile, TaskFamily
from metabench.registry import Registry

DATASETS: Registry[Builder] = Registry(
    "dataset",
    {
        "glyphs": "metabench.data.glyphs:GLYPHS",
        "digits": "metabench.data.digits:DIGITS",
        "own_images": "metabench.data.own:OWN_IMAGES",
        "own_texts": "metabench.data.own:OWN_TEXTS",
        "sinusoid": "metabench.data.sinusoid:SINUSOID",
        "harmonics": "metabench.data.sinusoid:HARMONICS",
        "omniglot_small1": "metabench.data.omniglot:SMALL1",
        "omniglot_small2": "metabench.data.omniglot:SMALL2",
        "omniglot_challenge": "metabench.data.omniglot:CHALLENGE",
        "omniglot": "metabench.data.omniglot:FULL",
        "cifar_fs": "metabench.data.cifar:CIFAR_FS",
        "fc100": "metabench.data.cifar:FC100",
        "mini_imagenet": "metabench.data.mini_imagenet:MINI_IMAGENET",
        "cub": "metabench.data.cub:CUB",
        "eurosat": "metabench.data.eurosat:EUROSAT",
        "fashion_mnist": "metabench.data.mnist_like:FASHION_MNIST",
        "kmnist": "metabench.data.mnist_like:KMNIST",
        "clinc150": "metabench.data.clinc150:CLINC150",
        "clinc150_oos": "metabench.data.clinc150:OUT_OF_SCOPE",
        "banking77": "metabench.data.banking77:BANKING77",
        "fewrel": "metabench.data.fewrel:FEWREL",
        "fewrel_dev": "metabench.data.fewrel:FEWREL_DEV",
        "fewrel_pubmed": "metabench.data.fewrel:PUBMED",
        "fewrel_nyt": "metabench.data.fewrel:NYT",
        "fewrel_semeval": "metabench.data.fewrel:SEMEVAL",
    },
    group="metabench.datasets",
    base="metabench.data.base:Builder",
    classes=False,
)

__all__ = ["DATASETS", "Builder", "ClassInfo", "Dataset", "RemoteFile", "TaskFamily"]
