"""Measure refining and training side by side with the paper's way of it, the network alone, and estimating anew.

Every case runs in a process of its own, one after another and that several times over; medians are shown.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from posefix.cli.options import CHECKPOINT, DEVICE, PATH, friendly, option
from posefix.core.errors import InputError
from posefix.core.files import write_atomically
from posefix.report.tables import titled_table
from tools.benchmark_cases import Setup, Work, cases, check, draw_people

RSS_PER_MEBIBYTE = 2**20 if sys.platform == "darwin" else 2**10
RAPL = Path("/sys/class/powercap")
SPAWN = multiprocessing.get_context("spawn")  # so that each process has memory of its own
STAGES = ("reading", "cropping", "rendering", "network", "the rest")
Record = dict[str, Any]  # medians of a case by name, None if not measurable

_ready: list[Work] = []  # the case of this process


def joules() -> float | None:
    """Return the energy used by the processors since some time in the past; None if the machine does not report it."""
    try:
        counters = [path.read_text() for path in RAPL.glob("intel-rapl:?/energy_uj")]
    except OSError:
        return None
    return sum(map(int, counters)) / 1e6 if counters else None


def prepare(number: int, setup: Setup, folder: Path) -> tuple[int, float | None]:
    """Prepare a case in this process and run it once; return its count and FLOPs."""
    _, _, make = list(cases())[number]
    _ready.append(make(setup, *draw_people(setup.people, folder)))
    run_once()
    return _ready[0].count, _ready[0].flops


def run_once() -> Record:
    """Run the case of this process: seconds, CPU seconds, joules, and CPU seconds per stage."""

    def cpu_seconds() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    work = _ready[0]
    stages = work.stages
    before = dict(stages or {})
    started, cpu, energy = time.perf_counter(), cpu_seconds(), joules()
    work.run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    record: Record = {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu}
    if energy is not None:
        record["joules"] = max((joules() or 0.0) - energy, 0.0)
    for stage, seconds in (stages or {}).items():
        record[stage] = seconds - before.get(stage, 0.0)
    return record


def peak_memory() -> dict[str, float]:
    """Return the peak memory of this process or its child, and of its GPU, in MiB."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    memory = {"memory": peak / RSS_PER_MEBIBYTE}
    if torch.cuda.is_available():
        memory["gpu_memory"] = torch.cuda.max_memory_allocated() / 2**20
    return memory


def measure(setup: Setup, repeats: int, folder: Path, console: Console) -> list[Record]:
    """Run all cases, interleaved, and return their medians; cases that cannot run say why."""
    records, pools = [], {}
    for number, (group, name, _) in enumerate(cases()):
        record: Record = {"group": group, "case": name}
        records.append(record)
        case_folder = folder / str(number)
        case_folder.mkdir()
        pool = ProcessPoolExecutor(1, mp_context=SPAWN)
        try:
            record["count"], record["flops"] = pool.submit(prepare, number, setup, case_folder).result()
            pools[number] = pool
        except InputError as error:
            pool.shutdown()
            record["left out"] = str(error)
            console.print(f"{group}, {name}: left out ({error})", highlight=False)
    runs: dict[int, list[Record]] = {number: [] for number in pools}
    for _ in range(repeats):
        for number, pool in pools.items():
            runs[number].append(pool.submit(run_once).result())
    for number, pool in pools.items():
        summarize = min if records[number]["group"] == "machine" else statistics.median  # peaks are maxima
        for key in runs[number][0]:
            records[number][key] = summarize(run[key] for run in runs[number])
        records[number] |= pool.submit(peak_memory).result()
        pool.shutdown()
    return records


def add_rates(records: list[Record], device: str) -> None:
    """Add people per second, CPU time per person, and the share of the matrix product's rate.

    This rate is per CPU second, which hardly depends on other programs; on a GPU, per second.
    """
    clock = "seconds" if device.startswith("cuda") else "cpu_seconds"
    measured = [record for record in records if "left out" not in record]
    for record in measured:
        record["per_second"] = record["count"] / record["seconds"]
        record["cpu_ms"] = 1000 * record["cpu_seconds"] / record["count"]
        record["gflops"] = record["flops"] / record[clock] / 1e9 if record["flops"] else None
    peak = measured[0]["gflops"]
    for record in measured:
        record["of_peak"] = record["gflops"] / peak if record["gflops"] else None


def shares(records: list[Record]) -> dict[str, dict[str, float]]:
    """Return the share of the CPU time that each stage of refining takes; for ours, the network and the rest."""
    result: dict[str, dict[str, float]] = {}
    alone = {r["group"]: r["cpu_ms"] for r in records if r["case"] == "the network alone" and "left out" not in r}
    for record in records:
        group, total = record["group"], record.get("cpu_ms", 0.0)
        spent = {stage: 1000 * record[stage] / record["count"] for stage in STAGES if stage in record}
        if not spent and record["case"] == "ours" and group in alone:
            spent = {"network": alone[group]}
        if spent:
            spent["the rest"] = max(total - sum(ms for stage, ms in spent.items() if stage != "the rest"), 0.0)
            result[f"{group}: {record['case']}"] = {stage: ms / total for stage, ms in spent.items()}
    return result


def describe_machine(device: str) -> str:
    """Describe processor, cores, versions, and load."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        processor += f", {torch.cuda.get_device_name(device)}"
    return f"{processor}, {os.cpu_count()} cores, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"


def show(records: list[Record], console: Console) -> None:
    """Print the measurements as a table."""
    energy = any("joules" in record for record in records)
    headings = ("per second", "CPU ms", "GFLOP/s", "of peak", "MiB", *["J"] * energy)
    table, last = titled_table("People or crops per second, and cost of each", "", *headings), None
    for record in records:
        if record["group"] != last:
            table.add_section()
            table.add_row(f"[bold]{record['group']}[/bold]")
            last = record["group"]
        if "left out" in record:
            table.add_row(f"  {record['case']}", "-")
            continue
        single = record["group"] == "machine"
        values = [
            None if single else f"{record['per_second']:.1f}",
            None if single else f"{record['cpu_ms']:.2f}",
            record["gflops"] and f"{record['gflops']:.1f}",
            record["of_peak"] and f"{record['of_peak']:.0%}",
            f"{record['memory']:.0f}",
            *([f"{record['joules'] / record['count']:.2f}"] if energy else []),
        ]
        table.add_row(f"  {record['case']}", *(value or "" for value in values))
    console.print(table)


@click.command(help=__doc__.splitlines()[0], epilog="Example: python -m tools.benchmark --repeats 5 --out bench.json")
@option("--people", type=click.IntRange(16), default=64, help="People to refine with the default network.")
@option("--repeats", type=click.IntRange(1), default=5, help="Runs of each case.")
@option(
    "--weights", type=PATH, default=Path(os.environ.get("POSEFIX_DATA", "data")).parent / "weights", help="MoveNets."
)
@option("--out", type=PATH, help="JSON file to write.")
@CHECKPOINT
@DEVICE
@friendly
def main(people: int, repeats: int, weights: Path, out: Path | None, checkpoint: str, device: str | None) -> None:
    """Print a table of all cases, and the share of each stage."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    console, setup = Console(), Setup(people, checkpoint, device, weights.absolute())
    machine = describe_machine(device)
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        offsets = pool.submit(check, setup).result()
    with tempfile.TemporaryDirectory() as folder:
        records = measure(setup, repeats, Path(folder), console)
    add_rates(records, device)
    stage_shares = shares(records)
    console.print(f"{machine}; medians of {repeats} runs", highlight=False)
    console.print("The paper's way and ours: " + ", ".join(f"{k} {v:.4f}" for k, v in offsets.items()), highlight=False)
    show(records, console)
    table = titled_table("Where the CPU time goes", "", *STAGES)
    for name, spent in stage_shares.items():
        table.add_row(name, *(f"{spent[stage]:.0%}" if stage in spent else "" for stage in STAGES))
    console.print(table)
    if joules() is None:
        console.print("This machine does not report its energy use.")
    if out is not None:
        result = {"machine": machine, "repeats": repeats, "same": offsets, "cases": records, "shares": stage_shares}
        write_atomically(out, json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
