# Sourced by cross/build and cross/check: a compiler, a standard library and a C compiler for another Linux target.
#
# Where the installed toolchain has the target (`rustup target add TARGET`), that is used. Where it has not and cannot get it, Debian's
# own compiler of the same family (rustc-web) is unpacked into a cache folder and handed to cargo as RUSTC; nothing is installed but the
# C cross compiler. A standard library that Debian does not have prebuilt is compiled once from Debian's source of it.
#
# SLIPWAY_CROSS_CACHE  where toolchain and build files live (default ~/.cache/slipway-cross); safe to delete
# SLIPWAY_CROSS_TOOLCHAIN=debian  take Debian's compiler even where rustup has the target
# shellcheck shell=bash

BEGAN=$SECONDS
me=cross/${0##*/}
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit "${1:-2}"; }
say() { printf '%6ss  %s\n' $((SECONDS - BEGAN)) "$*"; }
die() { echo "$me: $*" >&2; exit 1; }

# The targets that the agent is promised for; x86_64-unknown-linux-gnu is what everything else in CI builds.
TARGETS=(
    aarch64-unknown-linux-gnu aarch64-unknown-linux-musl
    armv7-unknown-linux-gnueabihf armv7-unknown-linux-musleabihf
    x86_64-unknown-linux-musl
)

# The last zig with musl's own allocator. Later ones have one of their own, whose calloc writes zeros to memory that the kernel gave as
# zeros: of sled's 42 histograms that costs 21.5 MB of a device's memory (docs/decisions/0021-size.md).
ZIG=0.15.2
ZIGBUILD=0.24.0

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${SLIPWAY_CROSS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway-cross}
mkdir -p "$cache"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
export CARGO_TARGET_DIR=$cache/target # never the workspace's own: another compiler would rebuild everything there each time

# One build at a time: two would unpack the same toolchain into the same folder.
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another cross build"; flock 9; }

# quietly NAME CMD…: runs CMD with its output in a log, which is shown only when it fails.
quietly() {
    local name=$1 log=$cache/log began=$SECONDS; shift
    if "$@" >"$log" 2>&1; then say "$name ($((SECONDS - began)) s)"; else tail -n 40 "$log" >&2; die "$name failed (all of it: $log)"; fi
}

# names TARGET: what gcc and Debian call it (`gcc`, `arch`, `packages`), and the variable for rustc's flags (`flags`). musl has no Debian
# cross compiler worth having: zig is both compiler and libc there.
names() {
    gcc='' arch='' packages=''
    case $1 in
        aarch64-unknown-linux-gnu) gcc=aarch64-linux-gnu-gcc arch=arm64 packages='gcc-aarch64-linux-gnu libc6-dev-arm64-cross' ;;
        armv7-unknown-linux-gnueabihf) gcc=arm-linux-gnueabihf-gcc arch=armhf packages='gcc-arm-linux-gnueabihf libc6-dev-armhf-cross' ;;
        x86_64-unknown-linux-gnu) gcc=gcc packages='gcc libc6-dev' ;;
        x86_64-unknown-linux-musl) gcc=musl-gcc packages=musl-tools ;;
        *-linux-musl*) [[ " ${TARGETS[*]} " = *" $1 "* ]] || die "unknown target $1; see cross/build --help" ;;
        *) die "unknown target $1; see cross/build --help" ;;
    esac
    flags=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$1")_RUSTFLAGS
    # musl's time_t has 64 bits everywhere since 1.2; the crate libc still says 32 on 32-bit ARM without this flag. The standard
    # library gets it when it is compiled.
    case $1 in armv7-*-musl*) rustflag --cfg=libc_unstable_musl_v1_2 ;; esac
}

# rustflag FLAG: one more flag for rustc, for the target that `names` was last called with.
rustflag() { case " ${!flags:-} " in *" $1 "*) ;; *) export "$flags=${!flags:+${!flags} }$1" ;; esac; }

# ---- the C compilers ------------------------------------------------------------------------------------------------------------------------

install_c_compiler() {
    command -v apt-get >/dev/null || die "$gcc is missing: install it with your package manager (on Debian: $packages)"
    local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get -q update || true # one dead source must not stop the others
    # shellcheck disable=SC2086  # several packages, several words
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends $packages
}

# zig comes as a Python package; cargo-zigbuild translates what rustc says to a linker into what zig understands.
zig=$cache/zig-$ZIG
install_zig() {
    rm -rf "$cache/zig" "$zig" # the first is what earlier versions of this script left
    python3 -m venv "$zig" && "$zig/bin/pip" install -q "ziglang==$ZIG" && "$zig/bin/pip" install -q "cargo-zigbuild==$ZIGBUILD"
}
use_zig() {
    # zig brings the start files and the libc.
    case $flags in *_MUSL*) rustflag -Clink-self-contained=no ;; esac
    if [ ! -x "$zig/bin/cargo-zigbuild" ]; then
        python3 -c 'import ensurepip' 2>/dev/null || gcc=python3-venv packages=python3-venv install_c_compiler
        quietly "installed zig $ZIG" install_zig
    fi
    case $PATH in "$zig/bin":*) ;; *) export PATH=$zig/bin:$PATH ZIG_GLOBAL_CACHE_DIR=$zig/cache CARGO_ZIGBUILD_CACHE_DIR=$zig/build ;; esac
}

# ---- Debian's Rust, unpacked into a folder ----------------------------------------------------------------------------------------------------

usr=$cache/debian/usr      # where the packages are unpacked
libs=$usr/lib/rustlib      # …and the standard libraries in them, one folder per target

# apt_as ARCH CMD…: CMD with an apt that reads this machine's sources for ARCH and keeps its own lists, so that `dpkg --add-architecture`
# is not needed and a broken index of one architecture spoils no other.
apt_as() {
    local arch=$1 state=$cache/apt-$1; shift
    mkdir -p "$state"/{state/lists/partial,cache/archives/partial} "$cache/deb"
    touch "$state/status"
    cat >"$state/apt.conf" <<CONF
Dir::State "$state/state"; Dir::State::status "$state/status"; Dir::Cache "$state/cache";
APT::Architecture "$arch"; APT::Architectures { "$arch"; }; APT::Sandbox::User ""; Acquire::Languages "none"; Acquire::Retries "3";
CONF
    (cd "$cache/deb" && APT_CONFIG=$state/apt.conf "$@")
}
versions_of() { apt_as "$1" apt-cache madison "$2" | awk '{print $3}' | sort -uV; }

unpack_compiler() {
    local a version std llvm deb
    for a in amd64 arm64 armhf; do apt_as "$a" apt-get -q update || echo "incomplete package index: $a"; done
    # The newest version that has a prebuilt standard library for 64-bit ARM as well; compiler and library must be one version.
    version=$(comm -12 <(versions_of amd64 rustc-web | sort) <(versions_of arm64 libstd-rust-web-dev | sort) | sort -V | tail -n 1)
    [ -n "$version" ] || version=$(versions_of amd64 rustc-web | tail -n 1)
    [ -n "$version" ] || { echo "no package rustc-web here: rustup target add $target, or build on Debian"; return 1; }
    std=$(apt_as amd64 apt-cache show "libstd-rust-web-dev=$version" | sed -n 's/^Depends: \(libstd-rust-web-[0-9.]*\).*/\1/p')
    llvm=$(apt_as amd64 apt-cache show "$std=$version" | grep -o 'libllvm[0-9]*' | head -n 1)
    echo "rustc-web $version, $std, $llvm"
    rm -rf "$cache/deb" "$cache/debian" "$cache/target"
    apt_as amd64 apt-get -q download "rustc-web=$version" "$std=$version" "libstd-rust-web-dev=$version" "$llvm"
    mkdir -p "$cache/debian"
    for deb in "$cache"/deb/*.deb; do dpkg -x "$deb" "$cache/debian"; done
    cat >"$cache/rustc.new" <<WRAP
#!/bin/sh
LD_LIBRARY_PATH=$usr/lib/x86_64-linux-gnu:$usr/lib/llvm-${llvm#libllvm}/lib exec $usr/bin/rustc "\$@"
WRAP
    chmod +x "$cache/rustc.new"
    "$cache/rustc.new" -vV
    echo "$version" >"$cache/version"
    mv "$cache/rustc.new" "$cache/rustc" # last: its presence says that all the above is there
}

has_std() { compgen -G "$libs/$1/lib/libstd-*.rlib" >/dev/null; }

unpack_std() {
    local version; version=$(<"$cache/version")
    apt_as "$arch" apt-get -q download "libstd-rust-web-dev=$version" && dpkg -x "$cache"/deb/libstd-rust-web-dev_*_"$arch".deb "$cache/debian"
}

# compile_std TARGET: the standard library from source, once per target; afterwards builds are ordinary `--target` builds.
compile_std() {
    local version work=$cache/std again log; version=$(<"$cache/version")
    [ -d "$libs/src/rust" ] || { apt_as amd64 apt-get -q download "rust-web-src=$version" && dpkg -x "$cache"/deb/rust-web-src_*.deb "$cache/debian"; }
    rm -rf "$work"
    mkdir -p "$work/src"
    printf '[package]\nname = "empty"\nedition = "2021"\n[workspace]\n' >"$work/Cargo.toml"
    echo 'fn main() {}' >"$work/src/main.rs"
    log=$work/build.log
    (
        cd "$work"
        # Bitcode, or the release profile's fat LTO could not use it.
        rustflag -Cembed-bitcode=yes
        export RUSTC_BOOTSTRAP=1 RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1 CARGO_TARGET_DIR=$work/target
        cargo zigbuild -v --release -Zbuild-std=std,panic_abort,proc_macro,test --target "$1" 2>&1 | tee "$log"
        # As Rust's own build does it: std unwinds, panic_abort alone is compiled to abort; so both kinds of program link.
        again=$(sed -n 's/^ *Running `\(.*--crate-name panic_abort .*\)`$/\1/p' "$log" | tail -n 1)
        cd "$libs/src/rust/library" 2>/dev/null || cd "$usr"/src/rustc-*/library
        eval "$again -C panic=abort"
    )
    mkdir -p "$libs/$1/lib"
    find "$work/target/$1/release/deps" \( -name 'lib*.rlib' -o -name 'lib*.rmeta' \) -exec cp {} "$libs/$1/lib/" \;
    rm -rf "$work" "$cache/target/$1"
}

# ---- what the scripts call --------------------------------------------------------------------------------------------------------------------

# prepare TARGET…: compiler and standard libraries. Sets RUSTC where it is Debian's; `installed` says whether it is not.
prepare() {
    local sysroot target; sysroot=$(cd "$root" && rustc --print sysroot)
    installed=yes
    for target; do compgen -G "$sysroot/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null || installed=''; done
    [ -z "${SLIPWAY_CROSS_TOOLCHAIN:-}" ] || installed=''
    if [ -n "$installed" ]; then say "toolchain: $(rustc -V), targets installed"; return; fi
    if [ "$(uname -m)" != x86_64 ] || ! command -v apt-get >/dev/null; then die "no standard library here: rustup target add $*"; fi
    [ -x "$cache/rustc" ] || quietly "unpacked Debian's compiler" unpack_compiler
    export RUSTC=$cache/rustc
    say "toolchain: Debian's $("$RUSTC" -V)"
    for target; do
        names "$target"
        if has_std "$target"; then continue; fi
        if [ -n "$arch" ] && unpack_std >"$cache/log" 2>&1; then say "unpacked Debian's standard library for $arch"
        else use_zig; quietly "compiled the standard library for $target" compile_std "$target"; fi
    done
}
