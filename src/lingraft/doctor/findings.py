"""What the doctor says: findings with advice, and estimates."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

#: an error makes the run worthless, a warning makes it weaker than it has to be, an info is worth knowing
Severity = Literal["error", "warning", "info"]

_ORDER = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    code: a name that stays the same, for programs. severity: ``error`` where the run would be worthless. found: what,
    with its numbers. advice: what to do. language: the tag of the new language it concerns; None for the run. where:
    the file or files. numbers: what was measured.
    """

    code: str
    severity: Severity
    found: str
    advice: str
    language: str | None = None
    where: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimates:
    """What the run will take on this machine.

    seconds: by stage, ``total`` among them; a stage whose text is of unknown size is left out. peak_memory_bytes: of
    the process, and of the card where there is one in ``device_memory_bytes``; None where the system does not tell.
    disk_bytes: of the run's folder at its largest. step_seconds: of one training step, by stage of the training; steps:
    how many there will be. notes: what the numbers leave out.
    """

    seconds: dict[str, float]
    peak_memory_bytes: int | None
    device_memory_bytes: int | None
    disk_bytes: int
    step_seconds: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All that the doctor says, the worst first.

    estimates: what the run will take, None where that was not probed. statistics: what was measured, by language,
    whether or not it made a finding. sampled: what was looked at, by file. seconds: that the doctor took.
    """

    findings: tuple[Finding, ...]
    estimates: Estimates | None
    statistics: dict[str, dict[str, float]]
    sampled: dict[str, dict[str, Any]]
    seconds: float

    @property
    def worthless(self) -> bool:
        """Whether the run would be: there is an error among the findings."""
        return any(finding.severity == "error" for finding in self.findings)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"worthless": self.worthless, **asdict(self)}


def sorted_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """The worst first, else in the order they were made."""
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"
