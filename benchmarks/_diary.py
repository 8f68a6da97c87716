"""What happened to each trial of `chaos.py`, in files that driver, trials and faults share."""

import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Again:
    """A trial that was begun again.

    Attributes:
        mark: Of the node that it was on before.
        behind: The epochs that were behind it.
        seen_at: When it last noted something before, in Unix time; ``at``: when it began again.
        epoch: That it went on from: as its next one tells, or Tune if there is none.
    """

    number: int
    mark: str
    behind: int
    seen_at: float
    at: float
    epoch: int


class Diary:
    """What happened to each trial, in files that driver, trials and `Run` share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "diary"
        self.folder.mkdir(exist_ok=True)

    def note(self, number: int, what: str, **more: Any) -> None:
        line = json.dumps({"what": what, "at": time.time(), **more})
        with (self.folder / str(number)).open("a") as file:
            file.write(f"{line}\n")

    def read(self) -> dict[int, list[dict[str, Any]]]:
        """The notes of each trial that has any."""
        # The last line may be half written.
        texts = {int(path.name): path.read_text() for path in self.folder.iterdir()}
        return {
            number: [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]
            for number, text in texts.items()
        }

    def ended(self) -> int:
        return sum(any(note["what"] == "end" for note in notes) for notes in self.read().values())

    def in_flight(self, mark: str = "") -> dict[int, int]:
        """The epochs that each trial has behind it, of those with that in their node's mark."""
        found = {}
        for number, notes in self.read().items():
            begun = [note for note in notes if note["what"] == "begin"]
            if begun and notes[-1]["what"] in ("begin", "epoch") and mark in begun[-1]["mark"]:
                found[number] = _behind(notes)
        return found

    def begun_again(self) -> list[Again]:
        found = []
        for number, notes in self.read().items():
            begun = [at for at, note in enumerate(notes) if note["what"] == "begin"]
            for before, at in itertools.pairwise(begun):
                found.append(
                    Again(
                        number=number,
                        mark=notes[before]["mark"],
                        behind=_behind(notes[:at]),
                        seen_at=notes[at - 1]["at"],
                        at=notes[at]["at"],
                        epoch=_went_on_from(notes[at:]),
                    )
                )
        return found

    def errors(self) -> list[str]:
        return [
            f"trial {number}: {note['error']}"
            for number, notes in self.read().items()
            for note in notes
            if note["what"] == "error"
        ]


def _behind(notes: list[dict[str, Any]]) -> int:
    """Epochs that are behind a trial after these notes."""
    told = [note["epoch"] for note in notes if note["what"] in ("begin", "epoch")]
    return int(told[-1]) if told else 0


def _went_on_from(notes: list[dict[str, Any]]) -> int:
    """The epoch before the first of a trial's notes that tells one, after it was begun."""
    told = next((note["epoch"] - 1 for note in notes[1:] if note["what"] == "epoch"), None)
    return int(notes[0]["epoch"] if told is None else told)
