"""What a study has chosen, written into ``params.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metabench.config.editing import drop, note, opened, put, written
from metabench.config.yaml_file import text_of
from metabench.files import write_text
from metabench.pipeline.studies import FIRST, Study


def apply(params: Path, study: Study, source: str, method: str) -> dict[str, Any]:
    """Write what the study has chosen into ``params.yaml``, with its name; comments are kept.

    Settings by shots that are there are of another choice: they are replaced, or taken out.

    Returns:
        The settings, those by shots too.
    """
    document, place = opened(text_of(params)), ["settings", source, method]
    chosen = study.chosen
    for name, value in chosen.items():
        put(document, [*place, name], value, str(params))
    if not study.by_shots:
        drop(document, [*place, "by_shots"], str(params))
    text = f"study {study.name}, {len(study.of(FIRST))} trials"
    note(document, place, text, str(params))
    write_text(params, written(document))
    return chosen
