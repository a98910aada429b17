"""Two reports → ratios, as far as they can be compared at all."""

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from cxr_edge.bench.cases import Case, counted
from cxr_edge.bench.measure import Figures
from cxr_edge.bench.report import BenchReport, bench_table, print_line, show_table, three_digits
from cxr_edge.errors import UsageError
from cxr_edge.runtime.machine import Machine

_VERDICTS = {"quicker": "green", "slower": "bold red", "same": "dim"}


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
        return self.now.latency_ms.p50 / self.before.latency_ms.p50

    @property
    def p99(self) -> float:
        """99th percentile of the latency, now / before."""
        return self.now.latency_ms.p99 / self.before.latency_ms.p99

    @property
    def throughput(self) -> float:
        """Radiographs a second, now / before: above 1 is quicker."""
        return self.now.throughput_per_s / self.before.throughput_per_s

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
class BenchComparison:
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


def check_machine(before: Machine, now: Machine) -> None:
    """Refuse to compare machines; to be asked before a minute is spent on measuring.

    Raises:
        UsageError: The reports come from unlike machines.
    """
    if not before.is_like(now):
        raise UsageError(
            f"the earlier figures are of another machine ({_difference(before, now, 'this is')}): their ratio would"
            " compare machines, not versions; add --across-machines if that is what you want"
        )


def compare_reports(before: BenchReport, now: BenchReport) -> BenchComparison:
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
    return BenchComparison(
        before=before.created,
        ratios=tuple(Ratio(case, before.figures[case], now.figures[case]) for case in shared),
        differences=tuple(_differences(before, now)),
        only_before=tuple(case for case in before.figures if case not in now.figures),
        only_now=tuple(case for case in now.figures if case not in before.figures),
    )


def _first(report: BenchReport) -> str:
    names = [str(case) for case in report.figures]
    return "nothing" if not names else names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _differences(before: BenchReport, now: BenchReport) -> list[str]:
    found = []
    old, new = before.machine, now.machine
    if not old.is_like(new):
        found.append(f"Another machine: {_difference(old, new, 'now')}.")
    if before.bundle.sha256 != now.bundle.sha256:
        found.append(f"Another bundle: {before.bundle} before, {now.bundle} now.")
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


def _difference(before: Machine, now: Machine, word: str) -> str:
    """Say what two machines are; with their instruction sets where only these tell them apart."""
    names = [str(before), str(now)]
    if names[0] == names[1]:
        names = [f"{each} with {', '.join(each.instruction_sets or ())}" for each in (before, now)]
    return f"{names[0]} before, {word} {names[1]}"


def show_comparison(comparison: BenchComparison, console: Console) -> None:
    """Print what has changed."""
    when = comparison.before.replace("T", " ").replace("+00:00", " UTC")
    console.print()
    print_line(console, f"Now / before, the run of {when}: latencies below 1 are quicker", "bold")
    rows = [(ratio.case, ratio) for ratio in comparison.ratios]
    show_table(bench_table(rows, ("before", "p50", "noise", "p99", "per s", ""), _cells), console)
    for sentence in comparison.differences:
        print_line(console, sentence, "yellow")
    for cases, what in (
        (comparison.only_before, "not measured this time"),
        (comparison.only_now, "not measured before"),
    ):
        if cases:
            print_line(console, f"{counted(len(cases), 'case')} {what}", "dim")


def _cells(ratio: Ratio) -> list[Text]:
    return [
        Text(three_digits(ratio.before.latency_ms.p50)),
        Text(f"{ratio.p50:.2f}", _VERDICTS[ratio.verdict]),
        Text(f"±{ratio.noise:.0%}"),
        Text(f"{ratio.p99:.2f}"),
        Text(f"{ratio.throughput:.2f}"),
        Text(ratio.verdict, _VERDICTS[ratio.verdict]),
    ]
