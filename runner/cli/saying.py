"""How commands print: a line holds words of guests, engines and files, so none reaches a terminal as it came."""

import click

from runner.text import for_terminal


def say(line: str) -> None:
    """Print one line."""
    click.echo(for_terminal(line))


def warn(line: str) -> None:
    """Print one line on stderr, beside what the command answers."""
    click.echo(for_terminal(line), err=True)
