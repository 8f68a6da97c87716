"""The architecture: who may import whom, and what importing the package costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "raytune_edge"

FLOORS = [
    ["errors", "records", "objective", "config", "dominance"],
    ["task", "pruning", "counting", "training", "lowering", "export", "runtimes", "store", "space"],
    ["devices", "parallel", "ncs2"],
    ["reporting", "measuring", "stages", "trial", "search"],
    ["analysis", "callbacks"],
    ["tasks", "testing", "doctor", "cli"],
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
WITHIN_FLOOR = {
    ("records", "objective"),
    ("records", "config"),
    ("objective", "config"),
    ("task", "training"),
    ("task", "space"),
    ("counting", "pruning"),
    ("lowering", "export"),
    ("lowering", "runtimes"),
    ("pruning", "space"),
    ("counting", "pruning"),
    ("reporting", "measuring"),
    ("measuring", "stages"),
    ("reporting", "stages"),
    ("reporting", "trial"),
    ("stages", "trial"),
    ("analysis", "callbacks"),
    ("analysis", "search"),
    ("doctor", "cli"),
}
"""Pairs (imported, importer) on one floor: few, and in one direction."""

FORBIDDEN = {
    "errors": {"torch", "ray", "openvino"},
    "records": {"torch", "ray", "openvino"},
    "config": {"torch", "ray", "openvino"},
    "objective": {"torch", "ray", "openvino"},
    "pruning": {"ray", "openvino"},
    "training": {"ray", "openvino"},
    "export": {"ray", "openvino"},
    "lowering": {"ray", "torch", "openvino"},
    "runtimes": {"ray", "torch"},
    "store": {"ray", "torch", "openvino"},
    "devices": {"torch"},
    "analysis": {"torch", "openvino"},
}


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports when it runs, TYPE_CHECKING blocks left out."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        todo.extend(ast.iter_child_nodes(node))
    return found


def module_files() -> list[tuple[str, Path]]:
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    return sorted((path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in files)


@pytest.mark.parametrize(("module", "path"), module_files(), ids=lambda each: str(each)[-40:])
def test_a_module_imports_only_from_floors_below(module: str, path: Path) -> None:
    assert module in FLOOR_OF, f"give {module} a floor in {Path(__file__).name} and CONTRIBUTING.md"
    for name in imports_of(path):
        package, _, rest = name.partition(".")
        if package != "raytune_edge" or not rest:
            continue
        imported = rest.partition(".")[0]
        if imported in FLOOR_OF and imported != module:
            below = FLOOR_OF[imported] < FLOOR_OF[module]
            assert below or (imported, module) in WITHIN_FLOOR, f"{path} imports {name}"


@pytest.mark.parametrize(("module", "path"), module_files(), ids=lambda each: str(each)[-40:])
def test_heavy_libraries_stay_where_they_belong(module: str, path: Path) -> None:
    heavy = {name.partition(".")[0] for name in imports_of(path)}
    assert not heavy & FORBIDDEN.get(module, set())


def test_the_measuring_child_imports_nothing_of_ours() -> None:
    files = list((PACKAGE / "runtimes" / "worker").glob("*.py"))
    assert files
    names = set().union(*(imports_of(path) for path in files))
    assert not [name for name in names if name.startswith("raytune_edge")]


def test_importing_the_package_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys, raytune_edge; print(sorted({'torch', 'ray', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    code = "import raytune_edge as r; [getattr(r, name) for name in r.__all__]"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    import raytune_edge

    with pytest.raises(AttributeError, match=r"no attribute 'Recip'.*'Recipe'"):
        _ = raytune_edge.Recip
