#!/usr/bin/env bash
# Builds the Debian packages martlet-sensor, martlet-collector and martlet-drill, with manual pages, completions and a list of what
# they are made of, into target/packaging.
#
#   scripts/package.sh                 release builds, for use
#   scripts/package.sh --dev           of a development build, for tests: large and slow
#   scripts/package.sh --dev --no-build        of programs that are there already (MARTLET_PROGRAMS, else the build directory)
#   scripts/package.sh --deb-version 1.2-3     with this version instead of that of Cargo.toml
#
# cargo-deb is installed below the build directory if it is missing (one to three minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

profile=release folder=release build=yes version=() compression=()
while [ $# -gt 0 ]; do
    case "$1" in
        --dev) profile=dev folder=debug compression=(--fast) ;;
        --no-build) build=no ;;
        --deb-version) version=(--deb-version "${2:?--deb-version wants a version}"); shift ;;
        -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift
done

need_build_tools
# dpkg-shlibdeps says which packages the programs need.
need_packages dpkg-dev
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$target/tools
if ! [ -x "$tools/bin/cargo-deb" ]; then
    say "installing cargo-deb into $tools"
    CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" --version '^3.8' cargo-deb
    rm -rf "$tools/build"
fi

programs=(martlet-sensor martlet-collector martlet-drill)
if [ "$build" = yes ]; then
    say "building"
    # Together, and in one go with what writes their pages: built alone, each would have other features of what they share.
    cargo build --locked --profile "$profile" -p martlet-packaging "${programs[@]/#/-p}"
fi
bin=${MARTLET_PROGRAMS:-$target/$folder}
out=$PWD/target/packaging
mkdir -p "$out"
"$bin/martlet-packaging" "$out"
scripts/sbom.sh "$out/sbom"

say "packing"
# cargo-deb looks for programs in the build directory of its profile.
place=$target/packaging
mkdir -p "$place/release"
for program in "${programs[@]}"; do
    ln -f "$bin/$program" "$place/release/" 2>/dev/null || cp "$bin/$program" "$place/release/"
done
for program in "${programs[@]}"; do
    CARGO_TARGET_DIR=$place "$tools/bin/cargo-deb" --quiet --locked --no-build --package "$program" --output "$out/" "${compression[@]}" "${version[@]}"
done
ls -l "$out"/*.deb
