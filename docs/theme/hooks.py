"""What MkDocs itself lacks: diagrams that follow the page's colours."""

import re
from pathlib import Path
from typing import Any

_PICTURE = re.compile(r'<img alt="[^"]*" src="(?:\.\./)*(images/[\w-]+\.svg)"\s*/?>')


def on_page_content(html: str, *, config: Any, **_: Any) -> str:
    """Put drawings into the page: a picture of its own can't see whether the page is dark."""

    def drawing(found: re.Match[str]) -> str:
        svg = Path(config.docs_dir, found[1]).read_text(encoding="utf-8")
        return f'<span class="wide">{svg}</span>'

    return _PICTURE.sub(drawing, html)
