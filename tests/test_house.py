"""The floors of the house: imports go down, no cycles, one owner per outside library."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "harness"

# Each folder, and each loose module, stands on a floor and imports only from floors below.
FLOOR = {
    "harness.core": 1,
    "harness.config": 2,
    "harness.data": 3,
    "harness.data_config": 3,  # an old name that files of users import
    "harness.execution": 3,
    "harness.models": 3,
    "harness.parts": 3,  # what files of users import
    "harness.space": 3,
    "harness.tracking": 3,
    "harness.inspection": 4,
    "harness.preflight": 4,
    "harness.training": 4,
    "harness.search": 5,
    "harness.evaluation": 6,
    "harness.deploy": 7,
    "harness.maintenance": 7,
    "harness.report": 7,
    "harness.api": 8,
    "harness": 9,  # the package itself only forwards to the API
    "harness.cli": 9,
    "harness.__main__": 10,
}
OWNERS = {
    "optuna": {"harness.search", "harness.report.analysis.importance"},
    "mlflow": {"harness.tracking"},
    "segmentation_models_pytorch": {"harness.models", "harness.training.loss.builtin_losses"},
    "timm": {"harness.models"},
    "huggingface_hub": {"harness.models"},
    "albumentations": {
        "harness.data.loading.augment",
        "harness.data.loading.augment_check",
        "harness.data.loading.augment_draws",
        "harness.data.loading.augment_file",
    },
    "tifffile": {"harness.data.files.tiff"},
    "imagecodecs": {"harness.data.files.chunks"},
    "plotly": {"harness.report.comparison", "harness.report.figures", "harness.report.page"},
    "jinja2": {"harness.core.html"},
    "scipy": {
        "harness.data.scan.duplicate_index",
        "harness.evaluation",
        "harness.report.analysis.effects",
        "harness.report.figures.contour",
        "harness.search.sampling.prior",
    },
    "yaml": {"harness.core.strict_yaml"},
    "tqdm": {"harness.api.notebook_progress"},
    "typer": {"harness.cli"},
    "rich": {"harness.cli"},
    "sqlalchemy": {"harness.search.storage"},
    "onnx": {"harness.deploy.export"},
    "onnxruntime": {"harness.deploy.export", "harness.deploy.runner"},
    "openvino": {"harness.deploy.export", "harness.deploy.runner"},
    "fsspec": {"harness.execution.cluster"},
    "starlette": {"harness.deploy.app"},
    "uvicorn": {"harness.deploy.app"},
    "ray": {"harness.execution.cluster"},
    "pynvml": {"harness.training.hardware.cost"},
}


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(path: Path, *, deferred: bool) -> set[str]:
    """Modules that a file imports; those inside functions only if `deferred`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in inside and not deferred:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= full & set(modules()) or {node.module}
    return names


def floor(module: str) -> int:
    place = module
    while place not in FLOOR:
        place = place.rpartition(".")[0]
    return FLOOR[place]


def room(module: str) -> str:
    """The folder, or the loose module, that a module belongs to."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("module", modules())
def test_imports_go_down(module: str) -> None:
    known = modules()
    for name in imports(known[module], deferred=True) & set(known) - {"harness"}:
        if room(name) != room(module):
            assert floor(name) < floor(module), f"{module} imports {name}, which is not below it"


def test_every_module_has_a_floor() -> None:
    assert {".".join(module.split(".")[:2]) for module in modules()} == set(FLOOR)


def test_no_import_cycles() -> None:
    known = modules()
    # The package itself holds its version and its folder; it imports the API when that is used.
    inner = set(known) - {"harness"}
    graph = {module: imports(known[module], deferred=True) & inner - {module} for module in inner}
    done: set[str] = set()
    while leaves := {
        module for module, needs in graph.items() if module not in done and needs <= done
    }:
        done |= leaves
    assert set(graph) == done, f"in or above a cycle: {sorted(set(graph) - done)}"


@pytest.mark.parametrize("library", OWNERS)
def test_outside_library_has_one_owner(library: str) -> None:
    users = {
        module
        for module, path in modules().items()
        if any(name.split(".")[0] == library for name in imports(path, deferred=True))
    }
    owners = OWNERS[library]
    strays = {user for user in users if not any(f"{user}.".startswith(f"{o}.") for o in owners)}
    assert not strays


# Together 150 MB, which images need.
NOT_FOR_PREDICTION = {"mlflow", "albumentations", "optuna", "sqlalchemy", "pandas", "scipy.stats"}


@pytest.mark.parametrize(
    ("what", "absent"),
    [
        ("harness.cli", {"torch", "mlflow", "albumentations"}),
        ("harness.api", {"torch", "mlflow", "albumentations"}),
        ("harness.api.study", {"torch", "mlflow", "albumentations", "pandas", "scipy.stats"}),
        ("harness.api.predict", NOT_FOR_PREDICTION),
        ("harness.deploy.app.study_models", NOT_FOR_PREDICTION),
        ("harness.deploy.app.serve", {"torch", *NOT_FOR_PREDICTION}),
        ("harness.deploy.app.bundle_models", {"torch", *NOT_FOR_PREDICTION}),
        ("harness.report.page.page", {"torch", "mlflow", "albumentations"}),
        ("harness.search.run.controller", {"torch", "mlflow", "albumentations"}),
        ("harness.search.run.launch", {"torch", "timm", "albumentations"}),
        ("harness.evaluation.confirm.confirm", {"torch", "timm", "albumentations"}),
    ],
)
def test_light_modules_leave_heavy_libraries_alone(what: str, absent: set[str]) -> None:
    code = f"import sys, {what}; print(*({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_files_are_of_readable_size() -> None:
    long = {
        str(path): n
        for path in modules().values()
        if (n := len(path.read_text().splitlines())) > 300
    }
    assert not long


QUESTIONS = {"what", "which", "whether", "how", "where", "who", "why", "when"}
# Words that say nothing of a value. Fields that lie on disk under such a name stay.
EMPTY_WORDS = {
    *("place", "found", "one", "known", "told", "said", "shown", "kept", "beside", "what", "each"),
    *("some", "wanted", "taken", "asked", "done", "begun", "there", "alike", "of", "at", "how"),
    *("mine", "theirs", "ours", "again", "whole", "which"),
}
ON_DISK = {
    *((owner, "at") for owner in ("HeldOutResult", "LedgerStart", "LedgerFinish", "LedgerFailure")),
    ("HeldOutResult", "of"),
    ("Confirmation", "wanted"),
    ("Finding", "what"),
    ("StudyConfig", "taken"),
}


def docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def bound_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Class (or "") and name of every parameter, local, field and constant."""
    owners = {
        id(child): node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield "", node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield owners.get(id(node), ""), node.id


def test_classes_have_names_of_their_own() -> None:
    names = Counter(
        node.name
        for path in modules().values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, n in names.items() if n > 1] == []


@pytest.mark.parametrize("module", modules())
def test_docstrings_open_with_a_verb_or_a_noun(module: str) -> None:
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    firsts = [text.split("\n")[0] for text in docstrings(tree)]
    assert [text for text in firsts if text.split()[0].strip(",.:").lower() in QUESTIONS] == []


@pytest.mark.parametrize("module", modules())
def test_names_are_nouns_of_the_field(module: str) -> None:
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    names = {pair for pair in bound_names(tree) if pair[1] in EMPTY_WORDS}
    assert names <= ON_DISK
