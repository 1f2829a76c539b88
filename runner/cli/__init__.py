"""The command line: the only room that reads the process environment, catches mistakes and decides exit codes."""

import contextlib
import errno
import sys
from typing import Any

import click

from runner.cli.looking import doctor, list_cells, network, show
from runner.cli.making import lock, publish, reference, report
from runner.cli.running import agree, cell, clean, image, matrix
from runner.cli.saying import warn
from runner.errors import Stop
from runner.interrupts import interrupt_on_signals
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
            end_all(for_good=True)
            with contextlib.suppress(OSError):  # of a terminal that is gone
                click.echo("interrupted; finished launches are kept, the same command goes on from there", err=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            # Whoever read our output went away (head, less, a terminal): no fault, and nothing to say to anybody.
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            sys.stdout = None
            ctx.exit(0)
        finally:
            end_all()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Time deep-learning frameworks against each other, with proof that all compute the same network."""
    interrupt_on_signals()


for command in (list_cells, show, network, doctor, cell, matrix, image, agree, clean, report, publish, reference, lock):
    main.add_command(command)
