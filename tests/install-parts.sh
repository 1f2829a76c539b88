#!/usr/bin/env bash
# Installs what some tests need of the system, on Debian or Ubuntu as root; without it these tests are skipped.
# Does nothing where all is there. Prints one line about what it found or did.
set -euo pipefail

# Open MPI for CNTK; what makes the stand-in bases; what the mirror tests talk to.
readonly packages=(libopenmpi3 openmpi-bin debootstrap docker-registry)
readonly julia_suite=bullseye  # the last release of Debian with a Julia (1.5)
readonly julia_libraries=/usr/local/lib/matrix-runner-julia
log="${TMPDIR:-/tmp}/matrix-runner-parts.log"

fail() {
    echo "install-parts: $1" >&2
    exit 1
}

fail_with_log() {
    echo "install-parts: $1; $log ends:" >&2
    tail -n 20 "$log" >&2
    exit 1
}

missing_packages() {
    local name
    for name in "${packages[@]}"; do
        dpkg -s "$name" >/dev/null 2>&1 || echo "$name"
    done
}

has_package_lists() {  # a test takes a data set from Debian
    apt-cache show dataset-fashion-mnist >/dev/null 2>&1
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >>"$log" 2>&1
}

julia_works() {  # Debian's crashes over an exception's stack where libunwind is newer than its own
    command -v julia >/dev/null || return
    (julia --startup-file=no -e 'try error() catch; stacktrace(catch_backtrace()) end'; exit $?) >/dev/null 2>&1
}

install_julia() {  # through lists of its own, so that the system's sources stay as they are
    local codename site
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $codename" | head -n 1)
    [ -n "$site" ] || fail "apt has no mirror of $codename to get Julia from"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    mkdir -p "$folder/lists/partial"
    printf 'deb %s %s main\n' "$site" "$codename" "$site" "$julia_suite" >"$folder/sources.list"
    local own=(-o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$folder/lists")
    apt "${own[@]}" update || fail_with_log "the mirror that apt uses has no $julia_suite"
    apt "${own[@]}" install -y --no-install-recommends --no-upgrade julia || fail_with_log "Julia cannot be installed"
    (cd "$folder" && apt "${own[@]}" download "libunwind8/$julia_suite") || fail_with_log "libunwind8 cannot be had"
    dpkg -x "$folder"/libunwind8_*.deb "$julia_libraries"
    printf '#!/bin/sh\nLD_LIBRARY_PATH=$(echo %s/usr/lib/*)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec /usr/bin/julia "$@"\n' \
        "$julia_libraries" >/usr/local/bin/julia
    chmod +x /usr/local/bin/julia
    hash -r
    julia_works || fail "Julia is installed and does not work"
}

mapfile -t missing < <(missing_packages)
julia_works && julia=() || julia=(julia)
if [ $((${#missing[@]} + ${#julia[@]})) -eq 0 ] && has_package_lists; then
    echo "install-parts: all is there"
    exit 0
fi
[ "$(id -u)" -eq 0 ] || fail "missing: ${missing[*]} ${julia[*]}; installing needs root"
command -v apt-get >/dev/null || fail "missing: ${missing[*]} ${julia[*]}; installing needs apt-get (Debian or Ubuntu)"

exec 9>"$log.lock"
flock 9
: >"$log"
apt update || fail_with_log "apt-get update failed"
if [ ${#missing[@]} -gt 0 ]; then
    apt install -y --no-install-recommends "${missing[@]}" || fail_with_log "apt-get install ${missing[*]} failed"
fi
[ ${#julia[@]} -eq 0 ] || install_julia
echo "install-parts: installed" "${missing[@]}" "${julia[@]}"
