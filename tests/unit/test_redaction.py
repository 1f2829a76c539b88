"""No password, no token and no path of an index gets into a text that somebody may see."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound

from runner.dockerfiles import dockerfile, read_bases
from runner.doctor import origin_of_packages
from runner.engines import NotBuilt
from runner.engines.containers import remedy_for
from runner.engines.images import build, settings_of
from runner.installers import installer_environment
from runner.paths import checkout_paths
from runner.reading import read_catalog
from runner.recipes import recipe_for
from runner.redaction import redacted, secrets_of

INDEX = "https://somebody:PASS%21WORD@index.example:8443/TOKEN-OF-PATH/simple?key=TOKEN-OF-QUERY"
SECRETS = ("PASS", "WORD", "TOKEN", "somebody", "simple", "key=")


def reveals(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"Looking in indexes: {INDEX}, https://b.example/c/d", "Looking in indexes: https://index.example:8443, https://b.example"),
        (f"error: '{INDEX}' answers 404.", "error: 'https://index.example:8443' answers 404."),
        (f"({INDEX}).", "(https://index.example:8443)."),
        (f"`git+{INDEX}`", "`git+https://index.example:8443`"),
        ("http://a:b@c@host/x", "http://host"),
        ("https://TOKEN@host", "https://host"),
        ("https://TOKEN@ü.example/TOKEN", "https://"),
        ("http://[::1]:80/x", "http://[::1]:80"),
        ("HTTPS://U:P@HOST/x", "HTTPS://HOST"),
        ("nothing.of:that/kind a://b", "nothing.of:that/kind a://b"),
        ("file:///opt/wheels/x.whl", "file:///opt/wheels/x.whl"),
    ],
)  # fmt: skip
def test_a_url_is_cut_to_scheme_and_host(text: str, seen: str) -> None:
    assert redacted(text) == seen


def test_what_a_setting_hides_is_struck_out_wherever_it_stands() -> None:
    secrets = secrets_of({"PIP_INDEX_URL": INDEX, "GH_TOKEN": "a/token=", "HOME": "/home/somebody", "TERM": "xterm"})
    said = redacted("as PASS!WORD or PASS%21WORD, TOKEN-OF-PATH, TOKEN-OF-QUERY, a/token=, xterm /home/x", secrets)
    assert said == "as *** or ***, ***, ***, ***, xterm /home/x"


def test_a_published_text_and_an_engines_error_have_no_secrets() -> None:
    assert not reveals(checkout_paths().impersonal(f"cannot reach {INDEX}"))
    assert not reveals(remedy_for(f"Get {INDEX}: no such host"))


def test_doctor_names_hosts_and_what_is_set() -> None:
    environ = {
        "UV_DEFAULT_INDEX": INDEX, "UV_INDEX": f"own={INDEX} /opt/TOKEN-folder", "UV_PUBLISH_TOKEN": "TOKEN", "UV_FIND_LINKS": "/w",
        "https_proxy": "http://u:TOKEN@proxy", "SSL_CERT_FILE": "/x",
    }  # fmt: skip
    said = origin_of_packages(environ)
    assert said == (
        "index: https://index.example:8443, also own=https://index.example:8443, also a folder, "
        "find-links set, a bundle of certificates set, a proxy set"
    )
    assert origin_of_packages({}) == "index: the default one"


def test_an_installer_gets_chosen_variables() -> None:
    kept = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "PIP_INDEX_URL": "u", "UV_CACHE_DIR": "c", "HTTPS_PROXY": "p"}
    others = {
        "AWS_SECRET_ACCESS_KEY": "s",
        "UV_PUBLISH_TOKEN": "s",
        "PYTHONPATH": "/x",
        "LD_PRELOAD": "/x",
        "CFLAGS": "-O0",
    }
    assert installer_environment(kept | others) == kept


class Engine:
    """A Docker engine that has no image, and whose builds print and end as they are told."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events, self.images, self.api = events, self, self

    def get(self, tag: str) -> None:
        raise ImageNotFound(tag)

    def build(self, **_: Any) -> Iterator[dict[str, Any]]:
        return (event for event in self.events)


def test_a_builds_log_and_reason_have_no_secrets(tmp_path: Path) -> None:
    paths = checkout_paths()
    recipe = recipe_for(read_catalog(paths), paths, "numpy-2", "cpu")
    file = dockerfile(paths, recipe, "numpy", next(read_bases(paths).fitting(recipe)))
    proxy = {"https_proxy": "http://me:PASSPROXY@proxy:3128"}
    settings = settings_of({"index-url": INDEX}, proxy, "mirror.example/TOKEN-OF-MIRROR")
    engine = Engine(
        {"stream": f"Looking in indexes: {INDEX}\n"},
        {"stream": "by PASSPROXY from TOKEN-OF-MIRROR\n"},
        {"stream": f"ERROR: no numpy at {INDEX}, TOKEN-OF-QUERY\n"},
        {"error": f"exit 1 of {INDEX}"},
    )
    with pytest.raises(NotBuilt) as reason:
        build(engine, file, settings, tmp_path)
    assert str(reason.value).startswith("ERROR: no numpy at https://index.example:8443")
    log = next(tmp_path.glob("*.log")).read_text().removeprefix(file.text)
    assert "Looking in indexes: https://index.example:8443" in log
    assert not reveals(log + str(reason.value))
