"""What clients of registries get to know of the caller's environment."""

from collections.abc import Mapping

# What of the caller's variables an installer needs: where programs, caches and settings lie, how the network is reached.
# No CC and no CFLAGS: they would change what is built under the same key.
INSTALLER_NAMES = frozenset(
    """
    PATH HOME TMPDIR USER LOGNAME LANG TZ
    HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy
    SSL_CERT_FILE SSL_CERT_DIR SSL_CLIENT_CERT REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS NETRC
    """.split()  # noqa: SIM905 - a list of quoted names is harder to read
)
INSTALLER_FAMILIES = ("LC_", "XDG_", "PIP_", "UV_", "NPM_CONFIG_", "npm_config_")
NOT_FOR_INSTALLERS = ("UV_PUBLISH_",)


def installer_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of the caller's variables that pip, uv and npm get."""
    return {
        name: value
        for name, value in environ.items()
        if (name in INSTALLER_NAMES or name.startswith(INSTALLER_FAMILIES)) and not name.startswith(NOT_FOR_INSTALLERS)
    }
