# Sourced by tests/sweep and tests/power-cut.
# shellcheck shell=bash

# scratch: a folder for devices: in memory where that is possible, since nothing is lost with it but the waiting for a disk.
scratch() {
    local probe=/dev/shm/slipway-probe-$$ dir=${TMPDIR:-/tmp}
    # Some containers have little memory there, or forbid to run programs.
    if printf '#!/bin/sh\n' 2>/dev/null >"$probe" && chmod +x "$probe" && "$probe" 2>/dev/null &&
        [ "$(df --output=avail -k /dev/shm | tail -n 1)" -gt 2000000 ]; then dir=/dev/shm; fi
    rm -f "$probe"
    echo "$dir"
}

# alone PROGRAM…: runs it in process and mount namespaces of its own where that is allowed: whatever ends it ends all that it started.
alone() {
    local with=(unshare --mount --propagation private --pid --fork --kill-child --mount-proc)
    if "${with[@]}" true 2>/dev/null; then "${with[@]}" "$@"; else "$@"; fi
}
