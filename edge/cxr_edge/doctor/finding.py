"""What one check found, and all of them together."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cxr_edge.errors import CxrEdgeError

_SCHEMA = 1
Status = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        area: What it belongs to, a heading of the table.
        name: What was checked; area and name together are stable for scripts.
        status: ``ok``; ``note``, which is good to know and fails nothing; ``fault``.
        summary: One sentence for people.
        facts: The same for machines.
        cure: Lines to type, or what else to do.
        exit_code: What a fault makes the command exit with.
    """

    area: str
    name: str
    status: Status
    summary: str
    facts: dict[str, Any] = field(default_factory=dict)
    cure: tuple[str, ...] = ()
    exit_code: int = 0

    @classmethod
    def of(cls, error: CxrEdgeError, *, area: str, name: str, cure: tuple[str, ...] = ()) -> "Finding":
        """Make the fault of an error.

        Args:
            error: What was raised.
            area: See above.
            name: See above.
            cure: Of use where the error has none.
        """
        summary = error.problem if error.path is None else f"{error.path}: {error.problem}"
        return cls(area, name, "fault", summary, {}, (error.cure,) if error.cure else cure, error.exit_code)


@dataclass(frozen=True)
class Examination:
    """All findings, what everything else rests on first.

    Attributes:
        findings: The findings.
    """

    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What has to be mended."""
        return tuple(finding for finding in self.findings if finding.status == "fault")

    @property
    def exit_code(self) -> int:
        """That of the first fault, which the others may come from; 0 without any."""
        return self.faults[0].exit_code if self.faults else 0

    def to_json(self) -> dict[str, Any]:
        """Give the record, schema 1."""
        checks = [asdict(finding) for finding in self.findings]
        return {"schema": _SCHEMA, "healthy": not self.faults, "exit_code": self.exit_code, "checks": checks}
