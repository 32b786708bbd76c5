"""Imports go one way, stay cheap, and the pipeline's code dependencies are complete and needed."""

import ast
import subprocess
import sys

import pytest
import yaml
from imports import ROOT, imported, needed

from medimg.params import Params

LAYERS = [
    {"__init__", "errors"},
    {"params", "records", "files"},
    {"work", "stage", "images", "store", "tasks", "labels", "duplicates", "augment"},
    {"border", "ingest", "split", "preprocess", "models", "training", "preview", "inference", "evaluation", "bundle"},
    {"demo", "study"},
    {"cli"},
    {"__main__"},
]
MAY_IMPORT_RAY = {"work.py", "training/launch.py", "tune.py", "submit.py"}
MODULES = sorted((ROOT / "medimg").rglob("*.py"))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
NOT_IN_DEPS = {"medimg/errors.py", "medimg/cli.py", "medimg/__init__.py"}  # they decide no output


def room(path):
    return path.relative_to(ROOT / "medimg").parts[0].removesuffix(".py")


def layer(path):
    return next(at for at, rooms in enumerate(LAYERS) if room(path) in rooms)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path):
    upwards = [other for other in imported(path) if layer(other) > layer(path)]
    assert not upwards


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_launchers_import_ray(path):
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    uses = any(name == "ray" or name.startswith("ray.") for name in names)
    assert not uses or path.relative_to(ROOT / "medimg").as_posix() in MAY_IMPORT_RAY


def test_the_command_line_imports_nothing_heavy():
    code = "import medimg.cli, sys; print(sorted({'torch', 'monai', 'ray', 'pandas', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def declared(stage):
    """Files of medimg that the stage's deps name, a folder standing for its Python files."""
    files = {}
    for dep in STAGES[stage]["deps"]:
        path = ROOT / dep
        if dep.startswith("medimg/"):
            files[dep] = {path} if path.is_file() else set(path.rglob("*.py"))
    return files


@pytest.mark.parametrize("stage", STAGES)
def test_every_room_that_a_stage_imports_is_a_dependency(stage):
    files = {path.relative_to(ROOT) for paths in declared(stage).values() for path in paths}
    missing = {path.as_posix() for path in needed(ROOT / f"pipelines/{stage}.py") - files} - NOT_IN_DEPS
    assert not missing


@pytest.mark.parametrize("stage", STAGES)
def test_no_dependency_is_unused(stage):
    used = {ROOT / path for path in needed(ROOT / f"pipelines/{stage}.py")}
    assert not [dep for dep, paths in declared(stage).items() if not paths & used]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_its_entry_reads(stage):
    source = (ROOT / f"pipelines/{stage}.py").read_text()
    read = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text.startswith(("params.", "load().")):
                read.add(text.split(".", 1)[1])
    if "evaluate(load())" in source:  # the report shows all that decided the result
        read |= set(Params.model_fields) - {"preview"}
    if "task_of(params.study)" in source:
        read |= {"study.task", "study.label", "study.positive"}
        if source.count("params.study)") == 1 and "params.study," not in source:
            read.discard("study")
    nested = {name for name in read if any(other.startswith(name + ".") for other in read)}
    assert read - nested == set(STAGES[stage]["params"])
    assert len(source.splitlines()) <= 30
