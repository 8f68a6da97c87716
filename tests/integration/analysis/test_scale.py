"""Two thousand trials: everything is made, and the report stays small."""

from __future__ import annotations
