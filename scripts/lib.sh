# Shared by the scripts: what a machine needs. Sourced, not run.

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# need_packages PACKAGE... installs what is missing through apt, as root or with sudo.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "installing ${missing[*]}"
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "these Debian packages are missing: ${missing[*]} (no root and no sudo to install them)"
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq || true # an old list may still do
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
        || die "apt-get could not install: ${missing[*]}"
}

# need_rust: one clear line where the toolchain is missing or too old.
need_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' Cargo.toml)
    # Under sudo, rustup's programs are in the home of whoever called it.
    [ -z "${SUDO_USER:-}" ] || PATH=$PATH:$(getent passwd "$SUDO_USER" | cut -d: -f6)/.cargo/bin
    command -v cargo >/dev/null || die "Rust $wanted or newer is needed; install it from https://rustup.rs and run this again"
    have=$(cargo --version | awk '{print $2}')
    [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ] \
        || die "Rust $wanted or newer is needed, this is $have; run 'rustup update' and this again"
}

# What building needs: a C compiler for zstd and xz, and libpcap's headers.
need_build_tools() { need_packages gcc libc6-dev libpcap-dev; need_rust; }

# What tests read the archive and examine the API with, in a Python environment of its own beside what cargo builds. MARTLET_PYTHON names its interpreter.
need_python_tools() {
    need_packages python3 python3-venv
    local place
    place=$(realpath -m "${CARGO_TARGET_DIR:-target}/python")
    export MARTLET_PYTHON=$place/bin/python
    cmp -s tests/python/requirements.txt "$place/installed" && return 0
    say "installing $(grep -c '==' tests/python/requirements.txt) Python packages into $place"
    { /usr/bin/python3 -m venv --clear "$place" && "$MARTLET_PYTHON" -m pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt; } \
        || die "cannot install what tests/python/requirements.txt lists"
    cp tests/python/requirements.txt "$place/installed"
}

# What tests of dashboards and alerts ask: Debian's Prometheus and Alertmanager, unpacked beside what cargo builds and not installed, since their packages start
# services. MARTLET_PROMETHEUS names the folder of their programs.
need_prometheus() {
    local place
    place=$(realpath -m "${CARGO_TARGET_DIR:-target}/prometheus")
    export MARTLET_PROMETHEUS=$place/usr/bin
    [ -x "$MARTLET_PROMETHEUS/promtool" ] && [ -x "$MARTLET_PROMETHEUS/amtool" ] && return 0
    say "unpacking prometheus and prometheus-alertmanager into $place"
    rm -rf "$place"
    mkdir -p "$place"
    (cd "$place" && { apt-get download -qq prometheus prometheus-alertmanager || { apt-get update -qq && apt-get download -qq prometheus prometheus-alertmanager; }; } >/dev/null 2>&1) \
        || die "apt-get could not download prometheus and prometheus-alertmanager"
    for package in "$place"/*.deb; do
        dpkg-deb -x "$package" "$place"
        rm "$package"
    done
}
