"""The cores, the memory and the instructions of this machine, and what they mean for int8 and bf16."""

from collections.abc import Iterator

from cxr_edge.doctor.finding import Finding
from cxr_edge.runtime.machine import Machine, Processor, read_machine, read_processor

_AREA = "processor"
_MEASURE = "cxr-edge bench --precision fp32,int8 measures it"


def examine_processor() -> Iterator[Finding]:
    """Look at cores, memory and instructions."""
    machine, processor = read_machine(), read_processor()
    yield _cores(machine)
    yield _memory(machine)
    yield _instructions(processor)
    yield _int8(processor)
    yield _bf16(processor)


def _cores(machine: Machine) -> Finding:
    cores, present = machine.usable_cores, machine.cores
    summary = f"{cores} of {present} may be used" + ("" if cores == present else " (affinity or container limit)")
    return Finding(_AREA, "cores", "ok", summary, {"usable": cores, "present": present})


def _memory(machine: Machine) -> Finding:
    memory = machine.usable_memory
    summary = "unknown on this operating system" if memory is None else f"{memory / 2**30:.1f} GiB may be used"
    return Finding(_AREA, "memory", "ok" if memory else "note", summary, {"usable_bytes": memory})


def _instructions(processor: Processor) -> Finding:
    there, known = processor.instruction_sets, processor.known_instruction_sets
    facts = {
        "processor": processor.model,
        "features": None if there is None else {name: name in there for name in known},
    }
    if there is None:
        summary = f"{processor.model}: instruction sets unknown on this operating system"
        return Finding(_AREA, "instructions", "note", summary, facts)
    missing = ", ".join(name for name in known if name not in there)
    summary = (
        f"{processor.model}: {', '.join(there) or 'none that matters'}{f' (without {missing})' if missing else ''}"
    )
    return Finding(_AREA, "instructions", "ok", summary, facts)


def _int8(processor: Processor) -> Finding:
    sets = processor.instruction_sets
    facts = {"instructions": processor.multiplies_int8}
    if sets is None:
        return Finding(_AREA, "int8", "note", f"unknown whether it is quicker than fp32; {_MEASURE}", facts)
    if processor.multiplies_int8:
        summary = f"quick: the processor adds products of 8-bit numbers in one instruction; {_MEASURE}"
        return Finding(_AREA, "int8", "ok", summary, facts)
    if "AVX2" in sets:
        # Two products of 8-bit numbers are added in 16 bits, which overflow unless one factor has 7 bits.
        summary = f"gains less: no VNNI, so that products take three instructions and weights of 7 bits; {_MEASURE}"
        return Finding(_AREA, "int8", "ok", summary, facts)
    return Finding(_AREA, "int8", "ok", "not quicker than fp32 here: stay with --precision fp32", facts)


def _bf16(processor: Processor) -> Finding:
    facts = {"instructions": processor.multiplies_bf16}
    if processor.instruction_sets is None:
        return Finding(_AREA, "bf16", "note", "unknown whether the processor has instructions for it", facts)
    if processor.multiplies_bf16:
        summary = "the processor has instructions for it; ONNX Runtime on the CPU computes fp32 in fp32 all the same"
        return Finding(_AREA, "bf16", "ok", summary, facts)
    return Finding(_AREA, "bf16", "ok", "the processor has no instructions for it", facts)
