"""What the runner imports is what `make` installs: nothing of it is in an extra, or there by chance."""

import ast
import importlib.metadata
import re
import sys
import tomllib

from checkouts import ROOT


def imported() -> set[str]:
    """The modules of others that the runner imports, wherever in a file."""
    found = set()
    for path in (ROOT / "runner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"runner"}


def test_every_module_that_the_runner_imports_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^A-Za-z0-9._-]", wanted)[0].lower() for wanted in project["dependencies"]}
    distributions = importlib.metadata.packages_distributions()
    missing = {module for module in imported() if not {d.lower() for d in distributions[module]} & declared}
    assert missing == set()
