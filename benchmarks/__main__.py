"""`python -m benchmarks [name …]`: run them, print a table; a run of all is also kept in `results/`."""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from benchmarks import bench_action, bench_backtest, bench_decide, bench_idle, bench_prometheus, bench_services, intake
from benchmarks.others import WORTH_A_WORD, Others
from benchmarks.result import HEADINGS, Result
from rollbackd.clock import SystemClock, rfc3339

BENCHMARKS: Final[Mapping[str, Callable[[], Coroutine[Any, Any, Sequence[Result]]]]] = MappingProxyType({
    "intake": intake.run,
    "action": bench_action.run,
    "prometheus": bench_prometheus.run,
    "services": bench_services.run,
    "decide": bench_decide.run,
    "backtest": bench_backtest.run,
    "idle": bench_idle.run,
})  # fmt: skip

RESULTS: Final = Path(__file__).with_name("results")
NOTE: Final = (
    "Ours and what stands beside it were measured in the same run, in turns: the ratios count, the figures change with the machine."
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; none: all")
    chosen = parser.parse_args().names or list(BENCHMARKS)
    if strange := set(chosen) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(strange))}: choose of {', '.join(BENCHMARKS)}")
    results: dict[str, Sequence[Result]] = {}
    others = Others()
    for name in chosen:
        print(f"\n{name} …", flush=True)
        try:
            results[name] = asyncio.run(BENCHMARKS[name]())
        except SystemExit as why:  # says what it could not do; the others may still
            print(why, flush=True)
        else:
            print(_table([HEADINGS, *(one.cells() for one in results[name])]), flush=True)
    note = f"{NOTE} {_said_of(others.cores())}".rstrip()
    print(f"\n{note}")
    if set(results) == set(BENCHMARKS):
        _keep(results, note)
    sys.exit(len(results) < len(set(chosen)))


def _said_of(cores: float) -> str:
    if cores < WORTH_A_WORD:
        return ""
    return f"Meanwhile others took {cores:.1f} of the machine's {os.cpu_count()} cores: measure again when it is quiet."


def _keep(results: Mapping[str, Sequence[Result]], note: str) -> None:
    at, machine = rfc3339(SystemClock().now()), {"cores": os.cpu_count(), "python": platform.python_version()}
    document = {
        "at": at,
        "machine": machine,
        "note": note,
        "results": [{"benchmark": name, **one.as_json()} for name, ones in results.items() for one in ones],
    }
    rows = [one.cells() for ones in results.values() for one in ones]
    text = f"# Benchmarks\n\n{at[:10]}, {machine['cores']} cores, Python {machine['python']}, `make bench`. {note}\n\n{_markdown(rows)}\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "latest.md").write_text(text, encoding="utf-8")


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _markdown(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (HEADINGS, ["---"] * len(HEADINGS), *rows))


if __name__ == "__main__":
    main()
