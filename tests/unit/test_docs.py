"""Links, code and pictures in the documentation."""

import re
import sys
import xml.etree.ElementTree
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from raytune_edge.config import Retrain
from raytune_edge.pruning import criteria, plan, prunable_groups, prune, surgery
from raytune_edge.tasks import cifar_resnet

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SVG = "{http://www.w3.org/2000/svg}"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python_in(page: Path, title: str = "") -> list[str]:
    return re.findall(rf"```python[^\n]*{re.escape(title)}[^\n]*\n(.*?)```", page.read_text(), re.S)


def prose_of(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.S)


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose_of(page), re.M)
    plain = (re.sub(r"[^\w\s-]", "", each).strip().lower() for each in headings)
    return {re.sub(r"[-\s]+", "-", each) for each in plain}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", prose_of(page)):
        if "://" in target:
            continue
        reached = page.parent / target if target else page
        assert reached.exists(), f"{name(page)} links to {target}"
        if anchor:
            assert anchor in anchors_of(reached), f"{name(page)} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_in_the_pages_compiles(page: Path) -> None:
    for code in python_in(page):
        compile(code, page.name, "exec")


@pytest.mark.parametrize("drawing", sorted(ROOT.glob("docs/images/*.svg")), ids=name)
def test_a_drawing_tells_what_it_shows_and_takes_the_colours_of_its_page(drawing: Path) -> None:
    root = xml.etree.ElementTree.parse(drawing).getroot()
    title, words = (root.findtext(SVG + tag) for tag in ("title", "desc"))
    assert title
    assert words
    told_by = root.get("aria-labelledby", "").split()
    assert told_by == [f"{drawing.stem}-title", f"{drawing.stem}-desc"]
    for parent in root.iter():
        for text in parent.findall(SVG + "text"):
            colours = parent.get("class", "") + text.get("class", "")
            assert "rte-" in colours, "".join(text.itertext())


def test_the_training_loop_of_the_documentation_trains_stops_and_goes_on() -> None:
    code, _ = python_in(ROOT / "docs/retraining.md")
    scope: dict[str, object] = {}
    exec(code, scope)
    loop = scope["adam"]
    assert callable(loop)
    images = torch.randn(32, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    batches = [(images, (images.mean((1, 2, 3)) > 0).long())] * 5
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    settings = Retrain(epochs=4, lr=0.05)
    epochs = list(loop(model, batches, settings, seed=0, interrupt=lambda: False, resume=None))
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[-1].loss < epochs[0].loss
    rest = loop(model, batches, settings, seed=0, interrupt=lambda: False, resume=epochs[1].state)
    assert [epoch.number for epoch in rest] == [3, 4]
    stopped = loop(model, batches, settings, seed=0, interrupt=lambda: True, resume=None)
    assert list(stopped) == []


def test_the_pruning_backend_of_the_documentation_gives_the_same_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (code,) = python_in(ROOT / "docs/development.md", "pruning/by_index.py")
    backend = ModuleType("by_index")
    exec(code, backend.__dict__)
    monkeypatch.setitem(sys.modules, "raytune_edge.pruning.by_index", backend)
    monkeypatch.setitem(surgery._BACKENDS, "by-index", "by_index")
    torch.manual_seed(0)
    network, example = cifar_resnet(8).eval(), torch.rand(1, 3, 32, 32)
    groups = prunable_groups(network, example)
    half = plan(groups, {group.name: 0.5 for group in groups})
    ours, theirs = (
        prune(network, example, half, backend=each) for each in ("by-index", "torch-pruning")
    )
    weights = theirs.state_dict()
    assert ours.state_dict().keys() == weights.keys()
    assert all(torch.equal(values, weights[key]) for key, values in ours.state_dict().items())


def test_the_criterion_of_the_documentation_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = python_in(ROOT / "docs/development.md", "pruning/criteria.py")
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))
    exec(code, {})
    rows = torch.tensor([[1.0, -4.0], [3.0, 3.0]])
    assert criteria._CRITERIA["largest"](rows).tolist() == [4.0, 3.0]
    assert criteria._CRITERIA["l1"](rows).tolist() == [5.0, 6.0]
