#!/usr/bin/env bash
# Starts a Docker engine for the tests where none answers: Debian's docker.io, as a detached daemon.
# Does nothing where one answers already. Needs root and apt; prints one line about what it found or did.
set -euo pipefail

readonly log="${TMPDIR:-/tmp}/matrix-runner-dockerd.log"
readonly patience_seconds=60

fail() {
    echo "start-docker: $1" >&2
    exit 1
}

fail_with_log() {
    echo "start-docker: $1; $log ends:" >&2
    grep -v level=info "$log" | tail -n 20 >&2
    exit 1
}

engine_version() {  # prints nothing and fails where no engine answers
    command -v docker >/dev/null && timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null
}

storage_driver() {
    docker info --format '{{.Driver}}' 2>/dev/null
}

answered() {
    echo "start-docker: engine $(engine_version), storage driver $(storage_driver), $1"
    exit 0
}

install_missing() {
    local missing=()
    dpkg -s docker.io >/dev/null 2>&1 || missing+=(docker.io)
    dpkg -s iptables >/dev/null 2>&1 || missing+=(iptables)
    [ ${#missing[@]} -eq 0 ] && return
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >>"$log" 2>&1 || fail_with_log "apt-get update failed"
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$log" 2>&1 \
        || fail_with_log "apt-get install ${missing[*]} failed"
}

start_daemon() {
    # A killed daemon leaves its pid file, and a new one refuses to start if that number runs as something else.
    local pid_file=/var/run/docker.pid
    if [ -e "$pid_file" ] && ! grep -q dockerd "/proc/$(cat "$pid_file")/cmdline" 2>/dev/null; then
        rm -f "$pid_file"
    fi
    # The bridge does not learn the uplink's MTU; where that is below 1500, large downloads in a build stall.
    local uplink mtu
    uplink=$(awk '$2 == "00000000" {print $1; exit}' /proc/net/route)
    mtu=$(cat "/sys/class/net/${uplink:-lo}/mtu")
    [ "$mtu" -gt 1500 ] && mtu=1500
    # Named, so that a machine without overlay says so: the silent fallback is vfs, which copies every layer whole.
    setsid dockerd --storage-driver "${DOCKER_DRIVER:-overlay2}" --mtu "$mtu" >>"$log" 2>&1 </dev/null 9>&- &
    daemon=$!
}

wait_for_answer() {
    local end=$((SECONDS + patience_seconds))
    until engine_version >/dev/null; do
        kill -0 "$daemon" 2>/dev/null || fail_with_log "dockerd ended before it answered"
        [ $SECONDS -lt $end ] || fail_with_log "dockerd did not answer within $patience_seconds s"
        sleep 0.2
    done
}

engine_version >/dev/null && answered "answered already"
[ -z "${DOCKER_HOST:-}" ] || fail "DOCKER_HOST is $DOCKER_HOST and nothing answers there; unset it to start an engine here"
[ "$(id -u)" -eq 0 ] || fail "no engine answers, and starting one needs root"
command -v apt-get >/dev/null || fail "no engine answers, and installing one needs apt-get (Debian or Ubuntu)"

exec 9>"${TMPDIR:-/tmp}/matrix-runner-dockerd.lock"
flock 9  # two test runs at once start one daemon
engine_version >/dev/null && answered "started by another run"
: >"$log"
install_missing
start_daemon
wait_for_answer
answered "started, log in $log"
