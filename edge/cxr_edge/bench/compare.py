"""Two reports → ratios, as far as they can be compared at all."""

from dataclasses import dataclass

from cxr_edge.bench.cases import Case
from cxr_edge.bench.environment import Environment
from cxr_edge.bench.measure import Figures
from cxr_edge.bench.report import Report
from cxr_edge.errors import UsageError


@dataclass(frozen=True)
class Ratio:
    """One case, now and before.

    Attributes:
        case: What was measured both times.
        before: The earlier figures.
        now: The figures of this run.
    """

    case: Case
    before: Figures
    now: Figures

    @property
    def p50(self) -> float:
        """Median latency, now / before: below 1 is quicker."""
        return self.now.p50 / self.before.p50

    @property
    def p99(self) -> float:
        """99th percentile of the latency, now / before."""
        return self.now.p99 / self.before.p99

    @property
    def throughput(self) -> float:
        """Radiographs a second, now / before: above 1 is quicker."""
        return self.now.throughput / self.before.throughput

    @property
    def noise(self) -> float:
        """By what share either figure varied while it was measured, whichever is more."""
        return max(self.before.spread, self.now.spread)

    @property
    def verdict(self) -> str:
        """``quicker`` or ``slower`` where the medians differ by more than the noise, else ``same``."""
        if 1 / (1 + self.noise) <= self.p50 <= 1 + self.noise:
            return "same"
        return "slower" if self.p50 > 1 else "quicker"

    def to_json(self) -> dict[str, object]:
        """Give the case with its ratios."""
        names = ("p50", "p99", "throughput", "noise", "verdict")
        return {**self.case.to_json(), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Comparison:
    """What has changed since an earlier report.

    Attributes:
        before: When the earlier report was made.
        ratios: The cases that both have.
        differences: What else is not as it was, one sentence each.
        only_before: Cases that were not measured this time.
        only_now: Cases that had not been measured.
    """

    before: str
    ratios: tuple[Ratio, ...]
    differences: tuple[str, ...]
    only_before: tuple[Case, ...]
    only_now: tuple[Case, ...]

    def to_json(self) -> dict[str, object]:
        """Give the comparison."""
        return {
            "before": self.before,
            "differences": list(self.differences),
            "ratios": [ratio.to_json() for ratio in self.ratios],
            "only_before": [case.to_json() for case in self.only_before],
            "only_now": [case.to_json() for case in self.only_now],
        }


def check_machine(before: Environment, now: Environment) -> None:
    """Refuse to compare machines; to be asked before a minute is spent on measuring.

    Raises:
        UsageError: The reports come from unlike machines.
    """
    if before.machine != now.machine:
        raise UsageError(
            f"the earlier figures are of another machine ({before.machine}; this is {now.machine}): their ratio would"
            " compare machines, not versions; add --across-machines if that is what you want"
        )


def compare(before: Report, now: Report) -> Comparison:
    """Divide the figures of the cases that two reports share.

    Raises:
        UsageError: They share none.
    """
    shared = [case for case in now.figures if case in before.figures]
    if not shared:
        raise UsageError(
            f"nothing to compare: before, {_first(before)}; now, {_first(now)}; measure with the options of the earlier"
            " run"
        )
    return Comparison(
        before=before.created,
        ratios=tuple(Ratio(case, before.figures[case], now.figures[case]) for case in shared),
        differences=tuple(_differences(before, now)),
        only_before=tuple(case for case in before.figures if case not in now.figures),
        only_now=tuple(case for case in now.figures if case not in before.figures),
    )


def _first(report: Report) -> str:
    names = [str(case) for case in report.figures]
    return "nothing" if not names else names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _differences(before: Report, now: Report) -> list[str]:
    found = []
    old, new = before.environment, now.environment
    if old.machine != new.machine:
        found.append(f"Another machine: {old.machine} before, {new.machine} now.")
    if before.bundle["sha256"] != now.bundle["sha256"]:
        names = [f"{each['name']} {each['version']} ({each['sha256'][:12]})" for each in (before.bundle, now.bundle)]
        found.append(f"Another bundle: {names[0]} before, {names[1]} now.")
    same_inputs = before.inputs.sha256 == now.inputs.sha256 or (before.inputs.synthetic and now.inputs.synthetic)
    if not same_inputs:
        found.append(f"Other radiographs: {before.inputs} before, {now.inputs} now.")
    versions = [{"Python": each.python, each.system: each.release, **each.packages} for each in (old, new)]
    for name in dict.fromkeys([*versions[0], *versions[1]]):
        was, is_now = (each.get(name, "none") for each in versions)
        if was != is_now:
            found.append(f"Another {name}: {was} before, {is_now} now.")
    for when, each in (("before", old), ("now", new)):
        if each.busy:
            found.append(f"The machine was busy {when}: load {each.load:.1f} on {each.cores} cores.")
    return found
