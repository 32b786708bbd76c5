"""The documentation: every page can be reached, every link leads somewhere, every command and option is there."""

import re
import shlex
import subprocess
from functools import cache

import pytest
import typer
import yaml
from documented import BY, NEEDS, RUN, said
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from studies import ROOT

from medimg.cli import app
from medimg.params import Params
from medimg.reference import errors_page

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
COMMANDS = typer.main.get_command(app).commands
PROGRAMS = ("medimg", "dvc", "make", "python")
OTHERS = ("cluster/certificates.sh", "cluster/start.sh", "docker", "git", "kubectl", "pip", "ray", "sbatch", "ssh")


def commands(page, programs=PROGRAMS):
    """Command lines that a page shows: of indented and fenced code, and between backticks, without their comments."""
    lines, fenced = [], False
    for line in page.read_text().splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("    ") or fenced:
            lines.append(line.strip().removeprefix("$ "))
        else:
            lines += re.findall(r"`([^`]+)`", line)
    for line in lines:
        text = re.sub(r"^((?:[A-Z_]+=\S+ )*)", "", re.split(r"\s+#|\s+&{1,2}", line)[0])
        if text.partition(" ")[0] in programs and " " in text and not re.match(r"medimg/|medimg \W|medimg [A-Z]", text):
            yield text


def anchors(text):
    """Fragments that headings of a page can be reached by, as Python-Markdown makes them."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


def pages_of(nav):
    """Files that a part of the navigation names."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(part)]


def test_every_page_is_in_the_navigation_once():
    assert sorted(pages_of(SITE["nav"])) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, fragment = target.partition("#")
        file = page.parent / name if name else page
        assert file.is_file(), target
        if page.parent.name == "docs":
            assert file.parent == page.parent, f"{target} lies outside of the site"
        assert not fragment or fragment in anchors(file.read_text()), target


def check_medimg(words):
    command = COMMANDS[words[0].rstrip(".,")]
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    given = words[1 : words.index("--")] if "--" in words else words[1:]
    used = [word.strip("[]").partition("=")[0] for word in given if word.strip("[").startswith("-") and len(word) > 1]
    assert set(used) <= known | {"--help"}


def check_dvc(words):
    if "…" not in words:
        words = [word for word in words if word != "--jobs"]  # named in a text without its number
        try:
            parsed, rest = get_main_parser().parse_known_args(words)
        except DvcParserError:  # named in a text without what it is about
            parsed, rest = get_main_parser().parse_known_args([*words, "something"])
        assert not [word for word in rest if word.startswith("-")]
        for pair in getattr(parsed, "set_param", None) or []:
            at = Params
            for key in pair.partition("=")[0].split("."):
                assert key in at.model_fields, pair
                at = at.model_fields[key].annotation


def check_make(words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert words[0] in targets


def check_python(words):
    if words[0] == "-m" and words[1].partition(".")[0] in ("medimg", "benchmarks", "cluster"):
        path = ROOT / words[1].replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
        if words[1] == "benchmarks.run":
            assert all((ROOT / f"benchmarks/{topic}.py").is_file() for topic in words[2:])
    elif words[0].endswith(".py"):
        assert (ROOT / words[0]).is_file()


CHECKS = {"medimg": check_medimg, "dvc": check_dvc, "make": check_make, "python": check_python}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_is_there(page):
    for text in commands(page):
        program, *words = shlex.split(text)
        try:
            CHECKS[program](words)
        except (AssertionError, KeyError, DvcParserError) as error:
            pytest.fail(f"{page.name} shows a command that is not there: {text} ({error})")


def test_commands_are_found_and_wrong_ones_are_refused(tmp_path):
    found = [text for page in PAGES for text in commands(page)]
    assert len(found) > 80
    assert {text.split()[0] for text in found} == set(PROGRAMS)
    for wrong in (
        "medimg nothing",
        "medimg new STUDY --nothing",
        "make nothing",
        "dvc nothing",
        "dvc exp run -S train.nothing=1",
    ):
        (tmp_path / "page.md").write_text(f"    {wrong}\n")
        with pytest.raises((AssertionError, KeyError, DvcParserError)):
            for text in commands(tmp_path / "page.md"):
                program, *words = shlex.split(text)
                CHECKS[program](words)


EVERY = sorted({text for page in PAGES for text in commands(page, PROGRAMS + OTHERS)})


@pytest.mark.parametrize("text", EVERY)
def test_every_command_is_run_by_a_test_or_says_what_it_needs(text):
    assert text in RUN or said(text), f"add {text!r} to tests/documented.py"


@cache
def source(name):
    return (ROOT / "tests" / name).read_text()


def test_the_tests_that_run_them_are_there_and_no_entry_is_left_over():
    for place in BY.values():
        name, _, test = place.partition("::")
        assert f"def {test}(" in source(name), place
    shown = {said(text) for text in EVERY if text not in RUN}
    assert not (BY.keys() | NEEDS.keys()) - shown
    assert set(RUN) <= set(EVERY)


@pytest.mark.parametrize("text", RUN)
def test_cheap_ones_run(text):
    done = subprocess.run(shlex.split(text), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_belongs_to_a_list_is_indented_by_four(page):
    """Python-Markdown ends a list where a paragraph after an empty line has fewer, GitHub does not."""
    assert not re.findall(r"\n\n( {1,3}| {5,7})\S.*", page.read_text())


def test_the_page_of_the_architecture_names_each_room_once():
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    named = [room for row in table for room in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(path.stem for path in (ROOT / "medimg").iterdir() if not path.name.startswith("__"))


def test_the_page_of_errors_is_what_the_code_says():
    assert (ROOT / "docs/errors.md").read_text() == errors_page()
