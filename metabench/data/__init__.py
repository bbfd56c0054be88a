"""Datasets: one file each; the registry and the common types are in :mod:`metabench.data.base`."""

from __future__ import annotations

from metabench.data.base import DATASETS, Builder, ClassInfo, Dataset, RemoteFile, TaskFamily

__all__ = ["DATASETS", "Builder", "ClassInfo", "Dataset", "RemoteFile", "TaskFamily"]
