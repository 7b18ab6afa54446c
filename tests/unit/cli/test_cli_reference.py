"""The reference is the code's, every help text says something, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from swarmops.cli import exits, reference
from swarmops.cli.app import COMMANDS, swarmops

ROOT = Path(__file__).parents[3]
COMMANDS_BELOW = {" ".join(names): command for names, command in reference.commands(swarmops)}
LINE = 65
"""So much of a summary a list of commands shows on a terminal of 80 columns."""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", list(reference.files()))
def test_what_is_made_from_the_code_is_as_the_code_says(name: str) -> None:
    """After a change of commands, keys or variables: `make docs`."""
    assert (ROOT / name).read_text() == reference.files()[name], "stale: run `make docs`"


@pytest.mark.parametrize("name", list(COMMANDS_BELOW))
def test_every_command_and_option_says_what_it_is_for(name: str) -> None:
    """A command begins with a sentence; an option has a text, which the reference has too."""
    command = COMMANDS_BELOW[name]
    summary = (command.help or "").partition("\n\n")[0]
    assert summary.endswith("."), summary
    if len(name.split()) > 2:
        assert len(summary) <= LINE, f"the list of commands would cut it: {summary}"
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.opts for one in options if not one.help] == []
    page = (ROOT / "docs/reference/cli.md").read_text()
    section = page.partition(f"# {name}\n")[2].partition("\n## ")[0]
    shared = page.partition("## Exit codes")[0]
    assert [one.opts for one in options if one.opts[-1] not in section + shared] == []


def test_the_list_of_commands_agrees_with_the_commands() -> None:
    """The table that is shown without importing anything names what there is."""
    for name, lazy in COMMANDS.items():
        assert f"swarmops {name}" in COMMANDS_BELOW
        assert lazy.help[0].isupper()


def test_every_exit_code_is_told() -> None:
    """In the program's help, and with its meaning in the reference."""
    page = (ROOT / "docs/reference/cli.md").read_text()
    for code in exits.MEANINGS:
        assert re.search(rf"\b{code} \w", exits.EPILOG)
        assert f"| {code} |" in page


def anchors(page: Path) -> set[str]:
    """Return GitHub's anchors of a page's headings."""
    found = set()
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        kept = [c for c in heading.lower() if c.isalnum() or c in " -_"]
        found.add("".join(kept).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files and headings that the manual links to are there."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []
