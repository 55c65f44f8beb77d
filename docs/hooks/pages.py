"""mkdocs hook: pages that are generated at each build, from the schema, the command line and the files that are linked.

A link of a page to a file outside of docs/ (`../hjepa/agent.py`) leads to a page that shows that file.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

import commands
import keys
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)")
GENERATED = {"reference/configuration.md": keys.page, "reference/commands.md": commands.page}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".md": "markdown", ".service": "ini"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    docs = Path(config.docs_dir)
    linked = {path for file in files.documentation_pages() for path in outside(docs / file.src_uri, file.src_uri)}
    for uri, page in GENERATED.items():
        files.append(File.generated(config, uri, content=page()))
    for path in sorted(linked):
        content = listing(path)
        files.append(File.generated(config, source_page(path), content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links to files outside of docs/ to their pages."""
    here = PurePosixPath("docs") / page.file.src_uri

    def led(match: re.Match[str]) -> str:
        path = normpath(str(here.parent / match[2]))
        if path.startswith("docs/"):
            return match[0]
        return match[1] + relpath(source_page(path), str(PurePosixPath(page.file.src_uri).parent))

    return LINK.sub(led, markdown)


def outside(file: Path, uri: str) -> set[str]:
    """Files and folders of the repository outside of docs/ that a page links to, relative to its root."""
    parent = PurePosixPath("docs", uri).parent
    found = {normpath(str(parent / target)) for _, target in LINK.findall(file.read_text(encoding="utf-8"))}
    return {path for path in found if not path.startswith("docs/") and (ROOT / path).exists()}


def source_page(path: str) -> str:
    return f"source/{path.rstrip('/')}.md"


def listing(path: str) -> str:
    """A page that shows a file, or all text files of a folder."""
    place = ROOT / path
    inside = [place] if place.is_file() else [p for p in sorted(place.rglob("*")) if p.suffix in LANGUAGES]
    shown = [f"---\nsearch: {{exclude: true}}\n---\n\n# {path}\n"]
    for file in inside:
        if file != place:
            shown.append(f"## {file.relative_to(place)}\n")
        text = file.read_text(encoding="utf-8").rstrip("\n")
        fence = "~" * max(4, 1 + max((len(run) for run in re.findall("~+", text)), default=0))
        shown.append(f"{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text}\n{fence}\n")
    return "\n".join(shown)
