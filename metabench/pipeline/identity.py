"""What makes two searches the same: data, budget, and all that is not searched; code apart."""

from __future__ import annotations

from typing import Any

from metabench.config import Config
from metabench.learning.pretraining import Pretrain
from metabench.methods.base import RECIPES
from metabench.pipeline.cell_fingerprints import learner_fingerprint
from metabench.pipeline.fingerprint import code_fingerprint, key_of
from metabench.pipeline.keys import content_of, episode_hash
from metabench.pipeline.layout import Layout
from metabench.pipeline.pretrainings import pretraining_of, recipe

SCORING = "metabench.pipeline.trials"
"""Module whose code scores trials."""


def identity(
    config: Config, layout: Layout, source: str, method: str, searched: dict[str, Any]
) -> tuple[str, str]:
    """Digests of what the scores of a search depend on beside its draws: params and data; code.

    Code is apart, since a faster way to the same numbers does not make a choice of settings void.

    Args:
        searched: the settings of (source, method or variant) that are searched, with their ranges.
    """
    given = learner_fingerprint(config, source, method)
    starts = pretraining_of(config, source, method)
    modules = [SCORING, *([Pretrain.__module__] if starts else [])]
    parts = code_fingerprint(*modules) | given.pop("code") | given.pop("method_code")
    # whichever build of a package: a search may go on on a machine of another kind
    code = key_of(code={name: found.partition("+")[0] for name, found in parts.items()})
    given["settings"] = {n: v for n, v in given["settings"].items() if n not in searched}
    params = key_of(
        fingerprint=given,
        searched=searched,
        start=[recipe(config, source, n).model_dump(mode="json") for n in range(RECIPES)]
        if starts
        else None,
        data=content_of(layout, source),
        val=[episode_hash(path) for path in sorted(layout.episodes(source, "val").glob("*.npz"))],
    )
    return params, code
