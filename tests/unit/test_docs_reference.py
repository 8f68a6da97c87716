"""Names and messages in the documentation are those of the source."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import raytune_edge
from raytune_edge import errors

ROOT = Path(__file__).parents[2]
LISTED = {
    found
    for page in (ROOT / "docs/api").glob("*.md")
    for found in re.findall(r"^::: (\S+)$", page.read_text(), re.M)
}
TROUBLES = (ROOT / "docs/troubleshooting.md").read_text()
QUOTED = [
    message
    for heading in re.findall(r"^### (.*)$", TROUBLES, re.M)
    for message in re.findall(r"`(.*?)`", heading)
]


def test_each_public_name_has_its_place_in_the_reference() -> None:
    modules = {name for name in raytune_edge.__all__ if name in raytune_edge._SUBMODULES}
    wanted = {f"raytune_edge.{name}" for name in set(raytune_edge.__all__) - modules}
    assert {each for each in LISTED if each.count(".") == 1} == wanted | (
        LISTED & {"raytune_edge.errors", "raytune_edge.training"}  # whole modules
    )


@pytest.mark.parametrize(
    "module",
    [*raytune_edge._SUBMODULES, "analysis", "analysis.plots", "pruning", "runtimes", "search"],
)
def test_each_name_of_a_public_module_has_its_place_in_the_reference(module: str) -> None:
    path = f"raytune_edge.{module}"
    elsewhere = set(raytune_edge.__all__)
    wanted = {f"{path}.{name}" for name in import_module(path).__all__ if name not in elsewhere}
    assert wanted <= LISTED, wanted - LISTED


def test_each_error_is_told_how_to_mend() -> None:
    told = set(re.findall(r"\b[A-Z]\w+Error\b", TROUBLES)) | {"DeviceError", "ValueError"}
    assert set(errors.__all__) <= told, set(errors.__all__) - told


def words_of(node: ast.AST) -> str | None:
    """The text of a string in the source, what is filled in as an ellipsis; None for no string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{.*?\}|%\w", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return f"{words_of(node.left) or '…'}{words_of(node.right) or '…'}"
    return None


def strings() -> Iterator[str]:
    for path in (ROOT / "raytune_edge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if words := words_of(node):
                yield words


SOURCE = set(strings())


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_that_is_quoted_is_in_the_source(message: str) -> None:
    # "the measuring process ended" is put together from a head and a tail.
    wanted = message.removeprefix("… ").removeprefix("the measuring process ")
    parts = ".*".join(map(re.escape, wanted.split("…")))
    pattern = re.compile(r"(^|…|\W)" + parts, re.S)
    assert any(pattern.search(words) for words in SOURCE), message
