"""What mkdocs makes the site of: pages where they are in the repository, and the docstrings."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
SHOWN = (
    *("*.md", "*.yaml", "LICENSE", "CITATION.cff", "docs/*.*", "docs/families/*.md"),
    *("benchmarks/*.md", "reports/**/*.*", "tests/test_arrows.py"),
)
"""Pages, and what they link to."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """All files of the site, so that links between pages hold; a page for each room of the code."""
    names = (p.relative_to(ROOT).as_posix() for glob in SHOWN for p in sorted(ROOT.glob(glob)))
    pages = [File.generated(config, name, abs_src_path=str(ROOT / name)) for name in names]
    rooms = [path.stem for path in sorted((ROOT / "metabench").iterdir()) if is_room(path)]
    index = "\n".join(["# API\n", *(f"- [metabench.{room}]({room}.md)" for room in rooms)])
    texts = {"api/index.md": index, "docs/tutorial.md": tutorial()}
    texts |= {f"api/{room}.md": f"::: metabench.{room}" for room in rooms}
    made = [File.generated(config, name, content=text) for name, text in texts.items()]
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theme, *pages, *made])


def tutorial() -> str:
    """The notebook as a page."""
    parts = ["*This page is a notebook: [tutorial.ipynb](tutorial.ipynb).*"]
    for cell in json.loads((ROOT / "docs/tutorial.ipynb").read_text())["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    return "\n\n".join([parts[1], parts[0], *parts[2:]])


def is_room(path: Path) -> bool:
    """Whether it is a module or package with something to import."""
    return path.stem[0] != "_" and (path.suffix == ".py" or (path / "__init__.py").exists())


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A link to a source file leads to its documentation."""

    def reference(link: re.Match[str]) -> str:
        return f"][{link[1].replace('/', '.')}]"

    return re.sub(r"\]\((?:\.\./)*(metabench/[\w/]+?)(?:/__init__)?\.py\)", reference, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Equations as MathML, which browsers draw by themselves; no roles of Sphinx."""

    def drawn(found: re.Match[str]) -> str:
        block = found[1] == "div"
        return convert(html.unescape(found[2]), display="block" if block else "inline")

    math = r'<(div|span) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>'
    content = re.sub(math, drawn, content, flags=re.DOTALL)
    return re.sub(r":(?:func|mod|class|meth|data|attr):(?=<code>)", "", content)
