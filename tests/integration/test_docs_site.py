"""pytest tests/integration/test_docs_site.py: the site builds without a warning, is complete, and fetches nothing."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from hjepa.cli.app import app
from hjepa.config import Config
from hjepa.tasks import catalog
from hjepa.typed_yaml import Section

pytest.importorskip("material", reason="the site needs the extra docs")
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does; a warning of any kind, such as a dead anchor, is an error."""
    from mkdocs.commands import build
    from mkdocs.config import load_config

    out = tmp_path_factory.mktemp("site")
    settings = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(out))
    settings.plugins.on_startup(command="build", dirty=False)
    build.build(settings)
    return out


def text_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def keys(section: type[Section], dotted: str = "") -> Iterator[str]:
    """Every key of a schema by its dotted name; of sections in lists or dictionaries only the section's."""
    for name, field in section.model_fields.items():
        at = f"{dotted}.{name}" if dotted else name
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from keys(kind, at)
        else:
            yield at


def verbs(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for verb, below in command.commands.items():
        full = f"{name} {verb}"
        yield from verbs(below, full) if hasattr(below, "commands") else [(full, below)]


def test_every_key_of_the_schemas_has_its_meaning_in_the_reference(site: Path) -> None:
    shown = text_of(site / "reference" / "configuration.html")
    schemas = [Config, *(catalog.find(name).schema for name in catalog.TASKS)]
    missing = [key for schema in schemas for key in keys(schema) if key not in shown]
    assert not missing
    assert "low.replan_period_ms" in shown
    assert " ".join((Config.model_fields["robot"].annotation.model_fields["name"].description or "").split()) in shown


def test_every_verb_and_option_is_in_the_reference(site: Path) -> None:
    shown = text_of(site / "reference" / "commands.html")
    named = list(verbs(typer.main.get_command(app), "hjepa"))
    assert len(named) > 20
    missing = [f"{verb} {name}" for verb, c in named for p in c.params for name in p.opts if name not in shown]
    assert not [verb for verb, _ in named if verb not in shown]
    assert not [name for name in missing if "--" in name]


def test_a_link_to_a_file_of_the_repository_leads_to_that_file(site: Path) -> None:
    page = (site / "concepts.html").read_text(encoding="utf-8")
    assert 'href="source/hjepa/agent.py.html"' in page
    assert "class HierarchicalAgent" in text_of(site / "source" / "hjepa" / "agent.py.html")


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = []
    for page in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe|source|video)\b[^>]*>", page.read_text(encoding="utf-8"))
        fetched += [f"{page.name}: {tag}" for tag in tags if re.search(r'(?:src|href)="(?:https?:)?//', tag)]
    assert not fetched
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(?:https?:)?//", styles)


def test_the_search_finds_a_key(site: Path) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    assert any("tracker_delay_s" in entry["text"] for entry in entries)
    assert not any(entry["location"].startswith("source/") for entry in entries)
