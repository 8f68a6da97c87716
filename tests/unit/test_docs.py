"""Code and links in the documentation."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from raytune_edge.config import Retrain

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_python_in_the_pages_compiles(page: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        compile(code, page.name, "exec")


def test_the_training_loop_of_the_documentation_trains_stops_and_goes_on() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/retraining.md").read_text(), re.S)
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
    (stopped,) = loop(model, batches, settings, seed=0, interrupt=lambda: True, resume=None)
    assert not stopped.finished
