"""The README's commands, code and configuration run, and its output is what they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import logaccel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


PAGES = sorted((ROOT / "docs").glob("*.md"))


def sessions(text: str = README) -> list[tuple[str, str]]:
    """Each `$ command` of the console blocks with the output that follows it."""
    found = []
    for block in blocks("console", text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.mark.parametrize(("command", "output"), sessions(), ids=lambda text: text[:40].strip().replace(" ", "_"))
def test_console_output_is_real(command: str, output: str) -> None:
    name, *arguments = command.split()
    assert name == "logaccel"
    done = subprocess.run(
        [sys.executable, "-m", "logaccel", *arguments], capture_output=True, text=True, timeout=300, check=True
    )
    assert [line.rstrip() for line in done.stdout.rstrip().splitlines()] == [
        line.rstrip() for line in output.rstrip().splitlines()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_console_output_of_the_docs_is_real(page: Path) -> None:
    for command, output in sessions(page.read_text(encoding="utf-8")):
        test_console_output_is_real(command, output)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_blocks_run(number: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocks("python")[number]],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_example_architecture_loads_and_runs(tmp_path: Path) -> None:
    (block,) = blocks("yaml")
    (tmp_path / "mine.yaml").write_text(block, encoding="utf-8")
    arch = logaccel.load_arch(tmp_path / "mine.yaml")
    assert logaccel.simulate(logaccel.load_network("alexnet"), arch).total_cycles > 0


def test_the_two_commands_are_there() -> None:
    commands = blocks("sh")
    assert any("pip install . && .venv/bin/logaccel compare" in command for command in commands)
    assert any(".venv/bin/pytest" in command for command in commands)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M), re.M
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists() and (not anchor or anchor in anchors(target)), link


def test_every_page_is_named_in_the_readme() -> None:
    assert [page.name for page in PAGES if f"(docs/{page.name})" not in README] == []
