"""
Speed of this package, beside plain loops that compute the same.

    python scripts/benchmark.py decoder      # one of the modules in scripts/benchmarks, whose first line says what

What is compared is run in turn, and each time is the median over the repeats, so that another load on the machine
falls on all alike.
"""

import argparse
import importlib
import json
import pkgutil
from pathlib import Path

import benchmarks
import torch
from benchmarks.timing import report


def main(argv: list[str] | None = None) -> None:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--repeats", type=int, default=7, help="timed runs of each, after one to warm up")
    common.add_argument("--threads", type=int, help="threads of PyTorch; all cores where not given")
    common.add_argument("--json", type=Path, help="where to write the numbers too")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for entry in pkgutil.iter_modules(benchmarks.__path__):
        module = importlib.import_module(f"benchmarks.{entry.name}")
        if hasattr(module, "run"):  # the others are their helpers
            command = commands.add_parser(entry.name.replace("_", "-"), parents=[common], help=module.__doc__)
            module.add_arguments(command)
            command.set_defaults(run=module.run)

    args = parser.parse_args(argv)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    numbers = report(*args.run(args))
    if args.json is not None:
        settings = {name: value for name, value in vars(args).items() if name not in ("run", "json")}
        settings |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
        args.json.write_text(json.dumps({"settings": settings, **numbers}, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
