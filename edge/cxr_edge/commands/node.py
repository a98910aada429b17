"""``cxr-edge node``: a DICOM node that answers what it is sent."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxr_edge.commands import options
from cxr_edge.text import printable

if TYPE_CHECKING:
    from ssl import SSLContext

    Encryption = tuple[SSLContext | None, SSLContext | None, SSLContext | None]

_MEGABYTE = 1 << 20


def node(
    out: Annotated[Path, typer.Option(help="Folder of what was received and of the results; the node goes on in it.")],
    ae_title: Annotated[str, typer.Option(metavar="AE", help="What the node is called.")] = "CXREDGE",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0 takes a free port.")] = 11112,
    host: Annotated[str, typer.Option(help="Address it listens at; 0.0.0.0 is every one of this machine.")] = (
        "127.0.0.1"
    ),
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="AE", help="AE title of who may send; any: everybody; repeatable.", show_default=False),
    ] = None,
    send_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AE@HOST:PORT",
            help="Archive that gets the results; tls: before it encrypts; repeatable.",
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate of the node (PEM): who sends has to encrypt.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).", show_default=False)] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(help="Certificates (PEM) that others must be signed by.", show_default=False)
    ] = None,
    max_size: Annotated[int, typer.Option(min=1, metavar="MB", help="Largest object that is taken.")] = 128,
    max_associations: Annotated[int, typer.Option(min=1, max=100, help="So many may send at once.")] = 10,
    min_free: Annotated[
        int, typer.Option(min=0, metavar="MB", help="With less space left on the disk nothing is taken.")
    ] = 1024,
    keep: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            help="Remove what is older, once it is answered and delivered.",
            show_default="everything",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Try these options out: an echo, an image, every archive; then stop.")
    ] = False,
    explain: Annotated[
        Literal["none", "gradcam", "lime", "both"], typer.Option(help="Which explanations; lime takes seconds each.")
    ] = "gradcam",
    explain_if: Annotated[
        Literal["positive", "all"], typer.Option(help="Which answers are explained; positive with UNSURE.")
    ] = "positive",
    sr: options.Report = "comprehensive3d",
    gsps: options.Gsps = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Radiographs in work at once, each on one core.", show_default="usable cores"),
    ] = None,
    bundle: options.BundleOption = None,
    provider: options.ProviderOption = "auto",
    precision: options.PrecisionOption = "auto",
    operating_point: options.OperatingPointOption = None,
    no_unsure: options.NoUnsure = False,
    prevalence: options.Prevalence = None,
    no_gate: options.NoGate = False,
    mode: options.OutputMode = "700",
    skip_bad: options.SkipBad = False,
) -> None:
    """Receive radiographs over the network, answer them, and send the results to the archive.

    Every object is on the disk before it is confirmed, and OUT is the whole state: a node that was stopped or killed
    goes on with the same command. Its log names no patient. Research use only: not a medical device.
    """
    from functools import partial

    from cxr_edge.errors import UsageError
    from cxr_edge.results.output import parse_mode

    _check_extra()
    from cxr_edge.clinic.delivery import Archive, check_ae_title
    from cxr_edge.clinic.receiving import ReceivingLimits

    if not accept:
        raise UsageError("nobody may send", cure="name who may with --accept AE, or take --accept any")
    accepted = () if accept == ["any"] else tuple(check_ae_title(each, "--accept") for each in accept)
    archives = tuple(Archive.parse(each) for each in send_to or ())
    title = check_ae_title(ae_title, "--ae-title")
    server_tls, client_tls, trial_tls = _tls(tls_cert, tls_key, tls_ca, sending=any(each.tls for each in archives))
    permissions = parse_mode(mode)

    from cxr_edge.clinic.node import NodeOptions, run_node
    from cxr_edge.clinic.results import ResultOptions
    from cxr_edge.runtime.machine import usable_cores
    from cxr_edge.scan.local import load_for_scan

    model, parameters = load_for_scan(
        out,
        bundle=bundle,
        provider=provider,
        precision=precision,
        operating_point=operating_point,
        unsure=not no_unsure,
        prevalence=prevalence,
        test_time_augmentation=False,
        gate=not no_gate,
        batch_size=None,
        explain=explain,
        explain_if=explain_if,
        waiting=True,
    )
    node_options = NodeOptions(
        ae_title=title,
        host=host,
        port=port,
        accept=accepted,
        send_to=archives,
        limits=ReceivingLimits(max_size * _MEGABYTE, min_free * _MEGABYTE, max_associations),
        server_tls=server_tls,
        client_tls=client_tls,
        trial_tls=trial_tls,
    )
    run = partial(run_node, model, parameters, workers=workers or usable_cores(), mode=permissions)
    results = ResultOptions(report=sr, gsps=gsps)
    if not check:
        run(node_options, out=out.absolute(), results=results, keep=keep, skip_bad=skip_bad)
        return
    from cxr_edge.clinic.trial import try_node

    fine = True
    for finding in try_node(run, node_options, model.bundle, results=results, explained=explain != "none"):
        typer.echo(printable(f"{'ok   ' if finding.fine else 'FAULT'} {finding.text}"))
        fine = fine and finding.fine
    if not fine:
        raise typer.Exit(UsageError.exit_code)


def _check_extra() -> None:
    from importlib.util import find_spec

    from cxr_edge.errors import UsageError

    if not (find_spec("highdicom") and find_spec("pynetdicom")):
        raise UsageError("node needs highdicom and pynetdicom", cure="run pip install 'cxr-edge[clinic]'")


def _tls(cert: Path | None, key: Path | None, ca: Path | None, *, sending: bool) -> "Encryption":
    """Give how connections to the node, from it and with itself are encrypted; None for those that are not.

    Raises:
        UsageError: A file is missing or holds something else.
    """
    import ssl

    from cxr_edge.errors import UsageError

    if (cert is None) != (key is None) or (ca is not None and cert is None and not sending):
        raise UsageError("--tls-cert and --tls-key belong together", cure="name both, or neither")
    server = client = itself = None
    try:
        if cert is not None:
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(cert, key)
            itself = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            itself.check_hostname, itself.verify_mode = False, ssl.CERT_NONE
            itself.load_cert_chain(cert, key)
            if ca is not None:
                server.load_verify_locations(ca)
                server.verify_mode = ssl.CERT_REQUIRED
        if sending:
            client = ssl.create_default_context(cafile=ca)
            if cert is not None:
                client.load_cert_chain(cert, key)
    except OSError as error:
        problem = f"the files of --tls-cert, --tls-key and --tls-ca cannot be used ({error.strerror or error})"
        raise UsageError(problem, cure="check that they are PEM files that belong together") from error
    return server, client, itself
