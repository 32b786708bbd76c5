"""Imports go one way, stay cheap, and the pipeline's code dependencies are complete and needed."""

import ast
import subprocess
import sys

import pytest
import yaml
from imports import ROOT, imported, needed

from medimg.params import NO_RESULT, Params

LAYERS = [
    {"__init__", "errors"},
    {"params", "records", "files", "tolerance"},
    {"work", "stage", "images", "store", "regions", "tasks", "labels", "duplicates", "augment"},
    {
        "border",
        "ingest",
        "split",
        "preprocess",
        "models",
        "training",
        "preview",
        "inference",
        "probe",
        "transplant",
        "saliency",
        "evaluation",
        "familiar",
        "bundle",
    },
    {
        "demo",
        "fetch",
        "study",
        "survey",
        "contact",
        "lecture",
        "reference",
        "external",
        "predict",
        "promote",
        "export",
        "cluster",
        "submit",
    },
    {"doctor"},
    {"retrain", "tune"},
    {"cli"},
    {"__main__"},
]
MAY_IMPORT_RAY = {"work/cluster.py", "training/launch.py", "tune.py", "submit.py"}
MODULES = sorted((ROOT / "medimg").rglob("*.py"))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
NOT_IN_DEPS = {"medimg/errors.py", "medimg/__init__.py"}  # they decide no output


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


def test_one_gate_leads_onto_a_cluster():
    """``attach`` asks whether a cluster lets strangers in; whatever else starts Ray starts one of its own."""
    calls = [
        (path.relative_to(ROOT / "medimg").as_posix(), ast.unparse(node.args[0]) if node.args else "")
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ray.init")
    ]
    assert calls == [("training/launch.py", "'local'"), ("work/cluster.py", "address")]


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


def test_only_ingest_depends_on_data():
    """DVC looks at every file of data/ again for each stage that does; for the others the index holds its hashes."""
    assert [stage for stage, about in STAGES.items() if "data" in about["deps"]] == ["ingest"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_its_entry_reads(stage):
    source = (ROOT / f"pipelines/{stage}.py").read_text()
    read = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text.startswith(("params.", "load().")):
                read.add(text.split(".", 1)[1])
    if "(load())" in source:  # report and bundle hold all that decided the result
        read |= set(Params.model_fields) - NO_RESULT
    if "task_of(params.study)" in source:
        read |= {f"study.{name}" for name in ("task", "label", "positive", "classes", "range")}
        if source.count("params.study)") == 1 and "params.study," not in source:
            read.discard("study")
    nested = {name for name in read if any(other.startswith(name + ".") for other in read)}
    assert read - nested == set(STAGES[stage]["params"])
    assert len(source.splitlines()) <= 30
