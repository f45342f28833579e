# Sourced by tests/run and .ci/run: installs Debian packages, quietly, and only those whose programs are missing.
# shellcheck shell=bash

# install_missing PROGRAM:PACKAGE…: the packages of those programs that are not on the path.
install_missing() {
    local pair program packages=() programs=()
    for pair in "$@"; do
        program=${pair%%:*}
        if ! command -v "$program" >/dev/null && ! [ -x "/usr/sbin/$program" ]; then programs+=("$program"); packages+=("${pair#*:}"); fi
    done
    if [ ${#packages[@]} -gt 0 ]; then install_packages "${packages[@]}" || { echo "missing programs: ${programs[*]}" >&2; return 1; }; fi
    case :$PATH: in *:/usr/sbin:*) ;; *) PATH=$PATH:/usr/sbin:/sbin ;; esac # where mosquitto is
}

# install_packages PACKAGE…: by apt, with no service started by it.
install_packages() {
    local sudo='' began=$SECONDS log policy=/usr/sbin/policy-rc.d ours='' code=0
    if ! command -v apt-get >/dev/null; then
        echo "no apt-get here; install by hand what Debian calls: $*" >&2
        return 1
    fi
    [ "$(id -u)" = 0 ] || sudo=sudo
    log=$(mktemp)
    # Debian's way to say that an installation must start no service (101: not allowed).
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
        $sudo chmod 755 $policy
        ours=yes
    fi
    if [ -z "${apt_updated:-}" ]; then
        $sudo apt-get -q update >>"$log" 2>&1 || true # one dead source must not stop the others; what is really missing fails below
        apt_updated=yes
    fi
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends "$@" >>"$log" 2>&1 || code=$?
    [ -z "$ours" ] || $sudo rm -f $policy
    if [ $code = 0 ]; then echo "installed $* ($((SECONDS - began)) s)"; else tail -n 30 "$log" >&2; fi
    rm -f "$log"
    return $code
}
