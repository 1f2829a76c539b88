"""The command line: the only room that reads the process environment, catches mistakes and decides exit codes."""

import signal
import sys
from typing import Any

import click

from runner.cli.looking import doctor, list_cells, network, show
from runner.cli.making import lock, publish, reference, report
from runner.cli.running import agree, cell, clean, image, matrix
from runner.cli.saying import warn
from runner.errors import Stop
from runner.processes import end_all

INTERRUPTED = 130


class Commands(click.Group):
    """Turns what a person or this machine cannot do into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Stop as stop:
            warn(f"error: {stop}")
            ctx.exit(stop.exit_code)
        except (KeyboardInterrupt, click.Abort):
            end_all()
            click.echo("interrupted; finished launches are kept, the same command goes on from there", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output went away (head, less): no fault, and nothing to say to anybody.
            sys.stdout = None
            ctx.exit(0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Time deep-learning frameworks against each other, with proof that all compute the same network."""
    # Not by way of SIGINT, which a shell has its background jobs ignore.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


for command in (list_cells, show, network, doctor, cell, matrix, image, agree, clean, report, publish, reference, lock):
    main.add_command(command)
