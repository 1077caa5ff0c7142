"""`kauldron config <verb>`: inspects a config without starting anything."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence

from absl import flags

from kauldron import konfig
from kauldron.cli import _flags, _origin, command_runner


def _command(work: Callable[[_flags.CommandLine], None]):
    """Makes a command of a function of the parsed arguments."""
    name = f"config {work.__name__.removeprefix('_')}"

    def main(
        argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
    ) -> int:
        return _flags.run(name, work, argv, flag_values)

    main.__doc__ = work.__doc__
    return main


@dataclasses.dataclass(frozen=True, kw_only=True)
class Show:
    """Prints a config: `kauldron config show`.

    Attributes:
      cfg: The config.
      origin: What it was made of, printed above it.
      group: The commands it is one of.
    """

    cfg: konfig.ConfigDict
    origin: _origin.ConfigOrigin = _origin.UNKNOWN
    group: str = "config"

    def __call__(self) -> None:
        _print_with_origin(self.origin, self.cfg)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resolve:
    """Builds the objects of a config, and prints the outermost.

    Attributes:
      cfg: The config.
      origin: What it was made of, printed above it.
      group: The commands it is one of.
      verbose: Whether the config and the time it takes are printed, too.
    """

    cfg: konfig.ConfigDict
    origin: _origin.ConfigOrigin = _origin.UNKNOWN
    group: str = "config"
    verbose: bool = False

    def __call__(self) -> None:
        from rich import pretty

        start = time.perf_counter()
        resolved = konfig.resolve(self.cfg)
        secs = time.perf_counter() - start
        _print_with_origin(self.origin, pretty.pretty_repr(resolved, max_width=88))
        if self.verbose:
            print(f"{self.cfg}\nResolved in {secs:.2f} s.")


def _print_with_origin(origin: _origin.ConfigOrigin, value: object) -> None:
    summary = origin.summary()
    print(f"{summary}\n{value}" if summary else value)


def _show(command: _flags.CommandLine) -> None:
    """`kauldron config show`: prints the config, overrides applied."""
    Show(cfg=command.cfg, origin=command.origin)()


def _resolve(command: _flags.CommandLine) -> None:
    """`kauldron config resolve`: builds the objects, and prints the outermost."""
    Resolve(cfg=command.cfg, origin=command.origin, verbose=command["verbose"])()


def _check(command: _flags.CommandLine) -> None:
    """`kauldron config check`: reports every mistake that needs no building."""
    problems = konfig.check(command.cfg)
    for line in konfig.to_lines(problems):
        print(line)
    if any(problem.is_error for problem in problems):
        raise _flags.UsageError("The config cannot be resolved; see above.")
    print("The config can be resolved, as far as can be told without building it.")


def diff(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron config diff A B`, or `diff A --cfg=B`: from A to B; code 1 if they differ.

    A and B are config files, `config.json` files or workdirs.
    """
    differ = False

    def work(command: _flags.CommandLine) -> None:
        nonlocal differ
        if not command.positional:
            raise _flags.UsageError(
                "`kauldron config diff` compares two configs: give two paths (config "
                "files, config.json files or workdirs), or one and --cfg=..."
            )
        sources = [_read(path) for path in command.positional]
        if len(sources) == 1:
            sources.append(command.cfg)
        difference = konfig.diff(*sources)
        is_terminal = sys.stdout.isatty()
        print(difference.to_text(color=is_terminal) if difference else "No difference.")
        differ = bool(difference)

    code = _flags.run("config diff", work, argv, flag_values)
    return (
        command_runner.EXIT_FAILED
        if code == command_runner.EXIT_DONE and differ
        else code
    )


def _read(path: str):
    is_python = path.endswith(".py")
    return konfig.load_config_file(path, allow_absent=True) if is_python else path


def _to_python(command: _flags.CommandLine) -> None:
    """`kauldron config to_python`: prints a config file that makes the same config."""
    print(konfig.to_python(command.cfg), end="")


def _sweeps(command: _flags.CommandLine) -> None:
    """`kauldron config sweeps`: lists the sweeps, and the overrides of each run."""
    sweeps = konfig.find_sweeps(command.cfg_file)
    if not sweeps:
        print(f"{command.cfg_file} defines no `sweep()` or `sweep_<name>()`.")
    for name, sweep in sweeps.items():
        items = sweep.items()
        about = f": {sweep.description}" if sweep.description else ""
        print(f"{name} ({len(items)} runs){about}")
        for item in items:
            print("  " + " ".join(konfig.to_flags(item)))


show = _command(_show)
resolve = _command(_resolve)
check = _command(_check)
to_python = _command(_to_python)
sweeps = _command(_sweeps)
