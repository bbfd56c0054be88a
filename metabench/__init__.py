"""metabench: with few labels in a new domain, meta-learn or transfer, and at what cost?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metabench.practice.estimator import FewShotClassifier

__version__ = "0.2.0"
__all__ = ["FewShotClassifier"]


def __getattr__(name: str) -> Any:
    """Import the estimator, and with it torch, when it is first asked for (PEP 562)."""
    if name != "FewShotClassifier":
        raise AttributeError(f"module 'metabench' has no attribute '{name}'")
    from metabench.practice.estimator import FewShotClassifier

    return FewShotClassifier
