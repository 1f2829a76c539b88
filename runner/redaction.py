"""Takes secrets out of text that people and files get to see: of a URL its scheme and host stay, of a secret setting nothing."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, unquote, urlsplit

STRUCK = "***"
CLOSING = "'\"`)]}>,;."
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?::\d+)?|\[[0-9A-Fa-f:]+\](?::\d+)?"
URL = re.compile(rf"(?<![A-Za-z0-9+.-])(?!file:)([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/?#]*@)?({_HOST}|)\S*")
SECRET_NAME = re.compile(r"TOKEN|PASSW|SECRET|CREDENTIAL|API_?KEY|AUTH(?!OR)", re.IGNORECASE)
PASSWORD_LENGTH = 4  # what is shorter is a part of too many words
PATH_LENGTH = 8


def redacted(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text with each URL cut to its scheme and host, and each of these secrets struck out."""
    text = URL.sub(_host_alone, text)
    for secret in secrets:
        text = text.replace(secret, STRUCK)
    return text


def _host_alone(url: re.Match[str]) -> str:
    whole = url.group(0)
    return url.group(1) + url.group(2) + whole[len(whole.rstrip(CLOSING)) :]


def secrets_of(settings: Mapping[str, str]) -> tuple[str, ...]:
    """What must not be seen of these settings, the longest first: passwords, and what a URL has beside its host."""
    return tuple(sorted(set(_secrets(settings)), key=lambda secret: (-len(secret), secret)))


def _secrets(settings: Mapping[str, str]) -> Iterator[str]:
    for name, value in settings.items():
        if SECRET_NAME.search(name) and len(value) >= PASSWORD_LENGTH and not value.startswith("/"):
            yield value
        for word in re.split(r"[\s,]+", value):
            if "://" in word:
                yield from _secrets_of_url(word)


def _secrets_of_url(url: str) -> Iterator[str]:
    """Its password, or the user where there is none, its query, and those parts of its path that may be a token."""
    try:
        split = urlsplit(url)
    except ValueError:
        return
    if split.scheme == "file":
        return
    for part in _parts(split):
        yield from (form for form in (part, unquote(part)) if len(form) >= PASSWORD_LENGTH)


def _parts(split: SplitResult) -> Iterator[str]:
    user, _, password = split.netloc.rpartition("@")[0].partition(":")
    yield password or user
    yield split.query
    yield from (value for _, _, value in (pair.partition("=") for pair in split.query.split("&")))
    yield from (part for part in split.path.split("/") if len(part) >= PATH_LENGTH)
