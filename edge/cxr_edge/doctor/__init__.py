"""Is this machine set up right? Checks that report what they find, whatever is missing, broken or damaged."""

from pathlib import Path
from typing import get_args

from cxr_edge.doctor.finding import Examination
from cxr_edge.doctor.installation import examine_decoders, examine_installation, examine_processor
from cxr_edge.doctor.network import PROVIDERS, examine_bundle, examine_providers
from cxr_edge.runtime.providers import Provider, Started


def examine(*, bundle: Path | None = None, provider: Provider = "auto") -> Examination:
    """Examine this machine, this installation and a bundle, in the order in which one check rests on the other.

    Args:
        bundle: The folder of the bundle; None takes the installed one.
        provider: What has to start: ``auto`` all that are built in, else the CPU and the one that is named.

    Returns:
        What was found; nothing is raised for what is missing, broken or damaged.
    """
    findings = [*examine_installation(), *examine_processor(), *examine_providers(provider)]
    started = {each.name for each in findings if each.area == PROVIDERS and each.status == "ok"}
    words: list[Started] = [word for word in get_args(Started) if word in started]
    findings += [*examine_bundle(bundle, words), *examine_decoders()]
    return Examination(tuple(findings))
