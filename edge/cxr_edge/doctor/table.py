"""The report for people."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cxr_edge.doctor.finding import Report
from cxr_edge.text import printable

_STYLES = {"ok": "green", "note": "yellow", "fault": "bold red"}


def show(report: Report, console: Console) -> None:
    """Print one line for each finding, the lines to type, and what it all comes to.

    Words, not symbols or colors alone, say how it stands: it has to be read in a log and in a mail, too.
    """
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    area = ""
    for finding in report.findings:
        heading = "" if finding.area == area else finding.area
        area = finding.area
        status = Text(finding.status.upper() if finding.status == "fault" else finding.status, _STYLES[finding.status])
        table.add_row(Text(heading, "bold"), status, finding.name, Text(printable(finding.summary)))
    console.print(table)
    cures: dict[tuple[str, ...], list[str]] = {}
    for finding in report.findings:
        if finding.cure:
            cures.setdefault(finding.cure, []).append(f"{finding.area} {finding.name}")
    for cure, names in cures.items():
        console.print(Text(f"\nFor {', '.join(names)}:", "bold"))
        for line in cure:  # whole lines, so that they can be copied
            console.print(Text(f"  {printable(line)}"), soft_wrap=True)
    count = len(report.faults)
    verdict = ("Healthy.", "bold green") if not count else (f"{count} fault{'s' if count > 1 else ''}.", "bold red")
    console.print(Text(f"\n{verdict[0]}", verdict[1]))
