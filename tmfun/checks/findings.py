"""What a finding is, and what follows from many.

Levels: `ok`; `note`, which a reader should know of; `warning`, for what could not be verified or is likely wrong;
`error`, for what is wrong. A data set is verified if it has neither warning nor error, and refused if it has an error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LEVELS = ("ok", "note", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: in `about` (the interactions, a modality), `what`, how grave, in one sentence.

    `numbers` are the measured values that the sentence rests on, ready for JSON.
    """

    about: str
    what: str
    level: str
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The finding for machines."""
        return {**vars(self), "numbers": dict(self.numbers)}


def graver(value: float, *, note: float, warning: float = float("inf"), error: float = float("inf")) -> str:
    """The level of a number of which more is worse: that of the highest threshold it exceeds."""
    return "error" if value > error else "warning" if value > warning else "note" if value > note else "ok"


def verdict(findings: Sequence[Finding]) -> str:
    """ "refused" with any error, "not verified" with any warning, else "verified"."""
    counts = Counter(finding.level for finding in findings)
    return "refused" if counts["error"] else "not verified" if counts["warning"] else "verified"
