"""``cxr-edge verify``: is the bundle what was made, and do its networks answer on this machine as they did then?"""

import typer

from cxr_edge.commands import options


def verify(bundle: options.BundleOption = None, provider: options.ProviderOption = "cpu") -> None:
    """Check the bundle's hashes, and what every network of it gives on this machine against what it gave when made.

    Prints one JSON object. Exits with 5 if the bundle was changed or answers differently.
    """
    from cxr_edge.bundle.bundle import Bundle
    from cxr_edge.errors import BundleError
    from cxr_edge.results.record import to_line
    from cxr_edge.runtime.self_test import self_test

    opened = Bundle.open(bundle)
    report = self_test(opened, provider=provider)
    if report.faults:
        cure = "reinstall ONNX Runtime or export it again"
        raise BundleError("; ".join(report.faults), cure=cure, path=opened.folder)
    typer.echo(to_line({"schema": 1, "bundle": opened.to_json(), **report.to_json()}))
