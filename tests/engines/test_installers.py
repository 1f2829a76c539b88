"""What the installer of virtual environments gets to know, and what is said of what it prints."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from checkouts import ROOT

from runner import processes
from runner.engines import NotBuilt
from runner.engines.venv import VenvEngine, install_commands, installer_inputs
from runner.paths import Paths
from runner.reading import read_catalog
from runner.recipes import Recipe, lock_problems, recipe_for

PATH = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}


class Closed(BaseHTTPRequestHandler):
    """An index that is broken."""

    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Closed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(root=ROOT, cache=tmp_path)


@pytest.fixture
def recipe(paths: Paths) -> Recipe:
    return recipe_for(read_catalog(paths), paths, "numpy-2", "cpu")


def test_an_indexs_secrets_are_in_no_message_and_in_no_log(paths: Paths, recipe: Recipe, index: str) -> None:
    url = f"http://somebody:TOKEN-WORD@{index}/TOKEN-OF-PATH/simple?key=TOKEN-OF-QUERY"
    environ = PATH | {"PIP_CONFIG_FILE": os.devnull, "UV_DEFAULT_INDEX": url, "UV_HTTP_RETRIES": "0"}
    with pytest.raises(NotBuilt) as reason:
        VenvEngine(paths, environ).prepare(recipe)
    log = "".join(path.read_text() for path in paths.logs.glob("*.log"))
    assert index in log
    assert "TOKEN" not in log + str(reason.value)


def test_the_installer_and_the_first_import_get_chosen_variables(paths: Paths, recipe: Recipe, tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump(dict(os.environ), open({str(tmp_path / 'seen.json')!r}, 'w'))\nsys.exit('no')\n"
    )
    uv.chmod(0o755)
    engine = VenvEngine(
        paths, PATH | {"AWS_SECRET_ACCESS_KEY": "x", "UV_PUBLISH_TOKEN": "x", "LD_PRELOAD": "", "CC": "x"}
    )
    engine.uv = str(uv)
    with pytest.raises(NotBuilt):
        engine.prepare(recipe)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert {"PATH", "HOME"} <= seen.keys()
    assert not {"AWS_SECRET_ACCESS_KEY", "UV_PUBLISH_TOKEN", "LD_PRELOAD", "CC"} & seen.keys()
    assert engine.smoke_environment(tmp_path).keys() == {"PATH", "HOME", "TMPDIR", "LANG"}


@pytest.mark.parametrize("release", ["numpy-2", "theano-0.8", "keras-1.0"])
def test_all_that_is_installed_has_hashes_and_is_built_by_locked_tools(paths: Paths, release: str) -> None:
    recipe = recipe_for(read_catalog(paths), paths, release, "cpu")
    with installer_inputs(recipe, paths) as inputs:
        commands = list(install_commands("uv", recipe, paths.cache / "made", "python", inputs))
        for command in commands:
            for file in (Path(word) for word in command if word.endswith(".txt")):
                assert list(lock_problems(file.read_text())) == []
    installs = [command for command in commands if "install" in command]
    assert installs
    for command in installs:
        assert {"--require-hashes", "--no-deps"} <= set(command)
        assert "--target" in command or "--no-build-isolation" in command or command[0] == "uv"
    assert "--no-build-isolation" in installs[-1]


def test_a_failed_command_says_no_secret_and_hands_on_what_it_printed(tmp_path: Path) -> None:
    url = "http://u:PASSWORD@host.example/TOKEN-OF-PATH"
    env = PATH | {"PIP_INDEX_URL": url}
    printed = f"import sys; print({url!r}); print('TOKEN-OF-PATH', file=sys.stderr); "
    log = tmp_path / "log"
    assert processes.run([sys.executable, "-c", printed], env=env, timeout=30, log=log) == url + "\n"
    with pytest.raises(processes.ProcessFailed) as failure:
        processes.run([sys.executable, "-c", printed + f"sys.exit('error at {url}')"], env=env, timeout=30, log=log)
    assert str(failure.value) == "error at http://host.example"
    assert "host.example" in log.read_text()
    assert "PASSWORD" not in log.read_text()
    assert "TOKEN-OF" not in log.read_text()
