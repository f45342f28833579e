#!/bin/bash
# tests/lib/nspawn.sh: throw-away machines with a real systemd in them, by systemd-nspawn. Up in about a second. Needs root.
#
#   base                    make the folder all machines start from, once per machine (about 30 s); prints its path
#   new NAME                a fresh machine: the base with an empty layer over it (an old one of that name goes first)
#   path NAME               print its root folder: copy files in and out there
#   boot NAME [OPTION…]     start it and wait until systemd has finished booting
#       --bind-ro SRC:DST   show a folder or file of ours inside, read-only
#       --bind SRC:DST      the same, writable
#       --private-network   its own empty network; without this it shares ours, loopback included
#   exec NAME CMD…          run a command inside; its output and exit code are ours
#   kill NAME               SIGKILL its process 1: all its processes are gone at once, as in a power cut (the page cache stays)
#   off NAME                orderly shutdown
#   rm NAME                 kill it and remove all of it
#   list                    the machines there are, and whether they run
#
# After `kill` and `off` the files are still there: `boot` starts the same machine again.
# SLIPWAY_NSPAWN_CACHE     where the base lives (default ~/.cache/slipway-nspawn)
# SLIPWAY_NSPAWN_MACHINES  where the machines live (default: machines/ in there); a test run has its own, so that it can remove what is left
set -euo pipefail

cache=${SLIPWAY_NSPAWN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway-nspawn}
base=$cache/base
machines=${SLIPWAY_NSPAWN_MACHINES:-$cache/machines}
packages=systemd,systemd-sysv,dbus,procps
boot_seconds=60 # a booted machine takes one; a busy one may take its time

usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 2; }
die() { echo "nspawn.sh: $*" >&2; exit 1; }

verb=${1:-}; shift || usage
case $verb in
    base | list) ;;
    new | path | boot | exec | kill | off | rm)
        name=${1:-}; shift || usage
        [[ $name =~ ^[a-z0-9][a-z0-9-]{0,40}$ ]] || die "a name is lower-case letters, digits and hyphens, not '$name'"
        machine=$machines/$name
        ;;
    *) usage ;;
esac
[ "$(id -u)" = 0 ] || die "needs root"
for program in systemd-nspawn mmdebstrap nsenter pgrep; do command -v $program >/dev/null || die "$program is missing (tests/run installs it)"; done

# ---- the base ---------------------------------------------------------------------------------------------------------------------------

# What would wait for hardware or a person, or touch the host's network or clock (a machine shares both).
masked='apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    console-getty.service getty@.service systemd-firstboot.service systemd-logind.service systemd-networkd.service systemd-resolved.service
    systemd-sysctl.service systemd-timesyncd.service systemd-udevd.service systemd-udev-trigger.service systemd-update-utmp.service'

make_base() {
    local suite mirror unit new=$base.new
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:?}") # the host's own, so that what was built here runs there
    # shellcheck disable=SC2016  # apt-get's own $
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $suite" 'Component: main' | head -n 1)
    rm -rf "$new"
    # shellcheck disable=SC2086  # without a mirror mmdebstrap knows where to go
    mmdebstrap --quiet --variant=minbase --include=$packages \
        --dpkgopt=path-exclude='/usr/share/doc/*' --dpkgopt=path-exclude='/usr/share/man/*' --dpkgopt=path-exclude='/usr/share/locale/*' \
        "$suite" "$new" $mirror
    rm -rf "$new"/var/cache/apt/* "$new"/var/lib/apt/lists/*
    for unit in $masked; do ln -sf /dev/null "$new/etc/systemd/system/$unit"; done
    ln -sf /lib/systemd/system/multi-user.target "$new/etc/systemd/system/default.target"
    : >"$new/etc/fstab"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$new/etc/hosts"
    mkdir -p "$new/var/log/journal" # logs outlive a kill
    recipe >"$new/etc/slipway-base"
    rm -rf "$base"
    mv "$new" "$base"
}
recipe() { { declare -f make_base; echo "$packages $masked"; grep VERSION_CODENAME /etc/os-release; } | md5sum; } # another recipe, another base

# ---- a machine's processes --------------------------------------------------------------------------------------------------------------

# A process is known by its id and when it began: a number alone may long belong to somebody else.
# shellcheck disable=SC2086  # its fields, apart
born() { local stat; stat=$(<"/proc/$1/stat") 2>/dev/null || return 1; stat=${stat##*) }; set -- $stat; echo "${20}"; }
remember() { echo "$1 $(born "$1")" >"$machine/$2"; }
recall() { # recall FILE: the process id kept there, if it is still that process
    local pid began
    read -r pid began 2>/dev/null <"$machine/$1" && [ "$(born "$pid" 2>/dev/null)" = "$began" ] && echo "$pid"
}
leader() { recall init || die "machine '$name' is not running"; }

# wait_for SECONDS CMD…: until CMD succeeds.
wait_for() {
    local until=$((SECONDS + $1)); shift
    until "$@"; do [ $SECONDS -lt $until ] || return 1; sleep 0.02; done
}
gone() { ! recall "$1" >/dev/null; }

# nspawn's child that is process 1 of its own namespace.
found_leader() {
    local pid
    recall nspawn >/dev/null || { cat "$machine/console.log" >&2; die "systemd-nspawn ended at once"; }
    for pid in $(pgrep -P "$(recall nspawn)"); do
        if [ "$(awk '/^NSpid:/ {print $NF}' "/proc/$pid/status" 2>/dev/null)" = 1 ]; then remember "$pid" init; return 0; fi
    done
    return 1
}
inside() { nsenter --target "$(leader)" --all -- /usr/bin/env --chdir=/ -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin SYSTEMD_COLORS=0 SYSTEMD_PAGER= TERM=dumb "$@"; }
booted() { case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) true ;; *) false ;; esac; }

stop_hard() {
    local pid
    if pid=$(recall init); then kill -KILL "$pid" 2>/dev/null || true; wait_for 20 gone init || die "machine '$name' cannot be killed"; fi
    # nspawn ends by itself once process 1 is gone.
    if ! wait_for 10 gone nspawn && pid=$(recall nspawn); then kill -KILL "$pid" 2>/dev/null || true; fi
    rm -f "$machine/init" "$machine/nspawn"
}
unmount() { while mountpoint -q "$machine/root"; do umount "$machine/root" 2>/dev/null || umount -l "$machine/root"; done; }
mount_layers() {
    mountpoint -q "$machine/root" ||
        mount -t overlay "slipway-$name" -o "lowerdir=$base,upperdir=$machine/upper,workdir=$machine/work" "$machine/root" ||
        die "no overlay mount in $machines: put SLIPWAY_NSPAWN_MACHINES on a file system that can be an upper layer (ext4, xfs, tmpfs)"
}

# ---- verbs ------------------------------------------------------------------------------------------------------------------------------

case $verb in
    base)
        mkdir -p "$cache"
        exec 9>"$cache/lock"
        flock 9
        [ "$(recipe)" = "$(cat "$base/etc/slipway-base" 2>/dev/null)" ] || make_base >&2
        echo "$base"
        ;;
    new)
        [ -d "$base" ] || die "no base yet: nspawn.sh base"
        "$0" rm "$name"
        mkdir -p "$machine"/{upper,work,root}
        mount_layers
        md5sum <<<"slipway-$name" | cut -c1-32 >"$machine/root/etc/machine-id" # an empty one would make every boot a first boot
        echo "$name" >"$machine/root/etc/hostname"
        ;;
    path)
        [ -d "$machine" ] || die "no machine '$name'"
        echo "$machine/root"
        ;;
    boot)
        [ -d "$machine" ] || die "no machine '$name': nspawn.sh new $name"
        ! recall init >/dev/null || die "machine '$name' is running"
        options=()
        while [ $# -gt 0 ]; do
            case $1 in
                --bind-ro | --bind) options+=("$1=${2:?$1 needs SRC:DST}"); shift ;;
                --private-network) options+=("$1") ;;
                *) die "boot: unknown option $1" ;;
            esac
            shift
        done
        mount_layers
        # No machined, no scope: neither is needed, and a machine without systemd (a container, CI) has none.
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 setsid systemd-nspawn --quiet --boot --directory="$machine/root" --machine="$name" --register=no --keep-unit \
            --link-journal=no --console=read-only --resolv-conf=off --timezone=off "${options[@]}" </dev/null >"$machine/console.log" 2>&1 &
        remember $! nspawn
        if ! { wait_for 20 found_leader && wait_for $boot_seconds booted; }; then
            tail -n 30 "$machine/console.log" >&2
            stop_hard
            die "machine '$name' does not boot"
        fi
        ;;
    exec)
        [ $# -gt 0 ] || usage
        inside "$@"
        ;;
    kill) leader >/dev/null; stop_hard ;;
    off)
        kill -RTMIN+4 "$(leader)" # systemd's own signal for an orderly power-off
        wait_for 60 gone nspawn || { stop_hard; die "machine '$name' did not shut down in time; killed"; }
        rm -f "$machine/init" "$machine/nspawn"
        ;;
    rm)
        [ -d "$machine" ] || exit 0
        stop_hard
        unmount
        rm -rf --one-file-system "$machine"
        ;;
    list)
        for machine in "$machines"/*/; do
            [ -d "$machine" ] || continue
            name=$(basename "$machine")
            echo "$name $(recall init >/dev/null && echo running || echo stopped)"
        done
        ;;
esac
