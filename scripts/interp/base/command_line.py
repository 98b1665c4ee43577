"""Command lines out of dataclasses: a field is a flag, the comment beside it is its help.

A recipe is a JSON file with values for such dataclasses, each under a name; `--recipe` takes what is not given on the
command line from there.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simple_parsing import ArgumentParser, DashVariant

from scripts.interp.base.errors import ModelUnavailable

RECIPE_FILE = "recipe.json"


def command_parser(
    command: str, description: str, groups: dict[str, type], arguments: list[str] | None = None
) -> ArgumentParser:
    """A parser for `.venv/bin/python -m <command>`. Defaults are those of the recipe that the arguments name, if any.

    groups: dataclasses, by the name that they have in what is parsed and in a recipe

    Exits with one sentence, as for a wrong argument, where there is no such recipe or it does not fit.
    """
    parser = ArgumentParser(
        prog=f".venv/bin/python -m {command}", description=description, add_option_string_dash_variants=DashVariant.DASH
    )
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for each in (early, parser):
        each.add_argument(
            "--recipe", metavar="FILE", help=f"take what is not given here from this file, or folder with {RECIPE_FILE}"
        )
    given = early.parse_known_args(arguments)[0].recipe
    recipe = {}
    if given is not None:
        try:
            recipe = read_recipe(Path(given))
            defaults = {name: group(**recipe.get(name, {})) for name, group in groups.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            parser.error(
                f"{given} holds no recipe for this command ({error}): give a {RECIPE_FILE} or a folder with one"
            )
    for name, group in groups.items():
        parser.add_arguments(group, name, default=defaults[name] if recipe else None)
    return parser


def read_recipe(path: Path) -> dict[str, dict[str, Any]]:
    """What a recipe's file says, or the one in a folder."""
    return json.loads((path / RECIPE_FILE if path.is_dir() else path).read_text(encoding="utf-8"))


def recipe_text(settings: dict[str, Any], options: Any) -> str:
    """The text of a recipe with settings and all options, a dataclass; it says the same when a default has changed."""
    return json.dumps({"settings": settings, "options": dataclasses.asdict(options)}, indent=1) + "\n"


def at_least_one(text: str) -> int:
    """An argument's `type`: a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def file_name(text: str) -> str:
    """An argument's `type`: a name for files, without a folder."""
    if not text or Path(text).name != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name for files: give one without a folder")
    return text


def cores() -> int:
    """How many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report_command(
    program: str, description: str, quick: str, benchmark: Callable[[], Any], arguments: list[str] | None
) -> int:
    """A command that measures and prints: the whole of it, with its exit status.

    quick: help of --quick
    benchmark: gives a module with `benchmark(threads, quick)` and `report_text(report)`; it is imported only when the
        arguments are right
    """
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object, not as tables")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument(
        "--threads", type=at_least_one, default=cores(), help="compute with so many threads of the CPU (%(default)s)"
    )
    options = parser.parse_args(arguments)
    module = benchmark()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints is not the report
            report = module.benchmark(options.threads, options.quick)
    except (ModelUnavailable, ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(report, indent=1) if options.json else module.report_text(report))
    return 0
