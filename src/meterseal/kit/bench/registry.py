"""Beside the path: the benchmarks by name, each a file that builds its rows, and the report of one run.

It measures nothing itself (`timing` does); a new benchmark is a file and a row of `BENCHMARKS`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from time import perf_counter
from typing import NamedTuple, cast

from meterseal.errors import LocalError
from meterseal.kit.bench.machine import machine
from meterseal.kit.bench.report import Report, Result, result
from meterseal.kit.bench.timing import Case, Measured, measure


class Benchmark(NamedTuple):
    """A row of the table: the module under `kit.bench` whose `cases` builds it, and what it answers."""

    module: str
    help: str


BENCHMARKS: dict[str, Benchmark] = {
    "handshake": Benchmark(
        "handshake", "Handshakes on the platform's side, beside the primitives they need."
    ),
    "seal": Benchmark("seal", "Records sealed, opened and read, beside bare SM4-CBC and HMAC-SM3."),
    "decode": Benchmark("decode", "Frames decoded from text, over the vectors of the repository."),
    "codec": Benchmark(
        "codec", "Frames of both protocols read and built, one by one and by the column, beside dlt645."
    ),
    "issue": Benchmark("issue", "Device certificates and enrolments, beside the bare SM2 signature."),
    "ingest-store": Benchmark(
        "store", "Readings made durable and read back, beside bare SM4-GCM and bare writes."
    ),
    "vee": Benchmark(
        "vee", "All validation rules over sealed segments, beside a plain scan of the same ones."
    ),
    "forecast": Benchmark(
        "forecast", "Series forecast with quantiles, beside the bare products and sorts they need."
    ),
    "ledger": Benchmark(
        "ledger", "Leaves appended, proofs made and checked, beside the bare hashes they need."
    ),
    "primitives": Benchmark(
        "primitives", "SM2, SM3 and SM4 as they are called here, beside the bare library."
    ),
}


class Run(NamedTuple):
    """A report and the rounds that it was made from."""

    report: Report
    measured: list[Measured]


def run(name: str, seconds: float, readings: int | None = None) -> Run:
    """Measure one benchmark, each row for about `seconds`; LocalError `use.benchmark` for an unknown name.

    `readings`: over so many, where the benchmark is one over readings; LocalError `use.readings` where it is not.
    """
    if name not in BENCHMARKS:
        raise LocalError(
            "use.benchmark", f"There is no benchmark `{name}`; there are: {', '.join(BENCHMARKS)}."
        )
    facts = machine()  # before the run, whose own load would show
    begun = perf_counter()
    module = import_module(f"meterseal.kit.bench.{BENCHMARKS[name].module}")
    build = cast(Callable[..., list[Case]], module.cases)
    if readings is not None:
        if not hasattr(module, "READINGS"):
            raise LocalError("use.readings", f"The benchmark `{name}` is not one over readings.")
        build = partial(build, readings=readings)
    afterwards = cast(Callable[[float], list[Result]], getattr(module, "afterwards", lambda _: []))
    with ExitStack() as stack:
        measured = measure(build(stack, seconds), seconds)
    report = Report(
        bench=name,
        machine=facts,
        seconds=round(perf_counter() - begun, 2),
        results=(*(result(one) for one in measured), *afterwards(seconds)),
    )
    return Run(report, measured)
