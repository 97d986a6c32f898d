#!/usr/bin/env bash
# Installs, upgrades, removes and purges the packages in a small Debian of their own, and looks at what is kept. Needs root and Debian's
# mirror.
#
#   scripts/test-packages.sh              of a development build, which it makes
#   scripts/test-packages.sh --no-build   of the programs that are there (MARTLET_PROGRAMS, else the build directory)
#
# Everything happens in a directory that is deleted at the end, with mounts and a network that nothing else sees. No init runs there:
# that units start is not tried, only that they are installed and valid.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

[ "$(id -u)" = 0 ] || die "a Debian in a directory needs root: run it with sudo"
# This script calls itself twice: with mounts of its own, and then without a network.
stage=${MARTLET_PACKAGES_STAGE:-build}
if [ "$stage" = build ]; then
    need_packages debootstrap util-linux iproute2
    scripts/package.sh --dev --deb-version 0.0.9-1 "$@" >/dev/null
    mkdir -p target/packaging/old
    mv target/packaging/*_0.0.9-1_*.deb target/packaging/old/
    scripts/package.sh --dev --no-build --deb-version 0.1.0-1 >/dev/null
    exec env MARTLET_PACKAGES_STAGE=install unshare --mount --propagation private "$0"
elif [ "$stage" = install ]; then
    . /etc/os-release
    root=$(mktemp -d)
    chmod 755 "$root" # others than root live there
    # Mounts end with this process's namespace; they are taken away first, so that nothing of the machine is below what is deleted.
    trap 'umount -q "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$root" "$root.log"' EXIT
    say "a Debian $VERSION_CODENAME with what the packages depend on"
    debootstrap --variant=minbase --include=libpcap0.8,procps,systemd "$VERSION_CODENAME" "$root" >"$root.log" 2>&1 \
        || { tail -n 20 "$root.log" >&2; die "debootstrap failed; it needs the Debian mirror"; }
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    mkdir "$root/old" "$root/new"
    cp target/packaging/old/*_0.0.9-1_*.deb "$root/old/"
    cp target/packaging/*_0.1.0-1_*.deb "$root/new/"
    MARTLET_PACKAGES_STAGE=try MARTLET_PACKAGES_ROOT=$root unshare --net "$0"
    exit
fi

root=$MARTLET_PACKAGES_ROOT
ip link set lo up
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
as() { local user=$1; shift; inside setpriv --reuid "$user" --regid "$user" --clear-groups "$@"; }
wrong() { printf 'test-packages.sh: %s\n' "$*" >&2; exit 1; }
has() { local path; for path in "$@"; do [ -e "$root$path" ] || wrong "$path is missing"; done; }
lacks() { local path; for path in "$@"; do [ ! -e "$root$path" ] || wrong "$path is still there"; done; }
version_is() { [ "$(inside dpkg-query -W -f '${Version}' "$1")" = "$2" ] || wrong "$1 is not of version $2"; }

say "installing"
inside sh -c 'dpkg -i /old/*.deb' >/dev/null
for name in sensor collector; do
    version_is "martlet-$name" 0.0.9-1
    has "/usr/bin/martlet-$name" "/etc/martlet/$name.toml" "/usr/lib/systemd/system/martlet-$name.service" \
        "/usr/share/man/man1/martlet-$name.1.gz" "/usr/share/bash-completion/completions/martlet-$name" \
        "/usr/share/zsh/vendor-completions/_martlet-$name" "/usr/share/fish/vendor_completions.d/martlet-$name.fish" \
        "/usr/share/doc/martlet-$name/sbom.cdx.json" "/usr/share/doc/martlet-$name/copyright"
    owner=$(inside stat -c '%U:%G %a' "/var/lib/martlet/$name")
    [ "$owner" = "martlet-$name:martlet-$name 700" ] || wrong "/var/lib/martlet/$name is $owner"
    inside "martlet-$name" --version
    as "martlet-$name" "martlet-$name" check --config "/etc/martlet/$name.toml" >/dev/null
    inside systemd-analyze verify "/usr/lib/systemd/system/martlet-$name.service" || wrong "the unit of martlet-$name is not valid"
    # Nothing starts before somebody has said what it is to do.
    enabled=$(inside systemctl is-enabled "martlet-$name" || true)
    [ "$enabled" = disabled ] || wrong "martlet-$name is $enabled"
done
has /usr/bin/martlet-drill /usr/share/man/man1/martlet-drill.1.gz \
    /usr/share/martlet-collector/dashboards/grafana/dashboards/martlet-observatory.json \
    /usr/share/martlet-collector/dashboards/prometheus/rules/martlet-alerts.yml
inside martlet-drill scenarios >/dev/null

# serve_briefly CHECK: a collector runs as its user while CHECK asks it.
serve_briefly() {
    # Without a shell between: what is told to stop is the collector.
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv --reuid martlet-collector --regid martlet-collector --clear-groups \
        martlet-collector serve --config /etc/martlet/collector.toml >"$root/serve.log" 2>&1 &
    local collector=$! tries
    for tries in $(seq 100); do
        inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/7461 && printf "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n" >&3 && head -n 1 <&3 | grep -q " 200 "' 2>/dev/null && break
        kill -0 "$collector" 2>/dev/null || { cat "$root/serve.log" >&2; wrong "the collector ended"; }
        [ "$tries" -lt 100 ] || wrong "the collector is not ready after 20 s"
        sleep 0.2
    done
    "$@"
    kill -TERM "$collector"
    wait "$collector" || wrong "the collector did not stop cleanly"
}
send_a_drill() { inside martlet-drill --collector 127.0.0.1:7460 --outbreak none --duration 1h --sensors 2 --quiet; }
counted() { as martlet-collector martlet-collector sensor list --config /etc/martlet/collector.toml; }

say "making state"
serve_briefly send_a_drill
as martlet-collector martlet-collector token create --config /etc/martlet/collector.toml --name kept --scope read >/dev/null
echo '# a line of the operator' >>"$root/etc/martlet/collector.toml"
as martlet-sensor touch /var/lib/martlet/sensor/kept
before=$(counted)
[ -n "$before" ] || wrong "there are no sensors to be kept"

is_kept() {
    grep -q 'a line of the operator' "$root/etc/martlet/collector.toml" || wrong "$1: what the operator wrote is gone"
    has /var/lib/martlet/sensor/kept
    [ "$(counted)" = "$before" ] || wrong "$1: the sensors that were known are not"
    as martlet-collector martlet-collector token list --config /etc/martlet/collector.toml | grep -q '^kept ' || wrong "$1: a token is gone"
}

say "upgrading"
inside sh -c 'dpkg -i --force-confdef /new/*.deb' >/dev/null
for name in sensor collector drill; do version_is "martlet-$name" 0.1.0-1; done
serve_briefly is_kept "after the upgrade"

say "enrolling a sensor, and counting"
sed -i 's/^#names = .*/names = ["127.0.0.1"]/' "$root/etc/martlet/collector.toml"
enrol_and_count() {
    local token
    token=$(as martlet-collector martlet-collector enroll create --config /etc/martlet/collector.toml --name fresh --group packaged)
    # The package's own configuration gives way.
    inside martlet-sensor enroll --collector 127.0.0.1:7460 --token-file - --interface lo <<<"$token" | grep -q '^fresh is enrolled' \
        || wrong "the sensor did not enrol"
    grep -q '^name = "fresh"' "$root/etc/martlet/sensor.toml" || wrong "the sensor's configuration was not written"
    [ "$(stat -c '%U %a' "$root/var/lib/martlet/sensor/tls/sensor.pem")" = "$(stat -c %U "$root/var/lib/martlet/sensor") 600" ] \
        || wrong "the sensor's key is not its own"
    as martlet-sensor martlet-sensor check --config /etc/martlet/sensor.toml >/dev/null
    inside martlet-drill --out /tmp/drill.pcap --outbreak none --duration 1h --quiet
    as martlet-sensor martlet-sensor replay --collector 127.0.0.1:7460 --sensor fresh --observe 198.18.0.0/24 --class drill \
        --ca /var/lib/martlet/sensor/tls/ca.pem --certificate /var/lib/martlet/sensor/tls/sensor.pem \
        --key /var/lib/martlet/sensor/tls/sensor.pem /tmp/drill.pcap >/dev/null
    counted | grep -q '^fresh .*packaged' || wrong "what the enrolled sensor sent was not counted"
}
serve_briefly enrol_and_count
before=$(counted)

say "removing, and installing again"
inside dpkg --remove martlet-sensor martlet-collector martlet-drill >/dev/null
lacks /usr/bin/martlet-sensor /usr/bin/martlet-collector /usr/bin/martlet-drill /usr/lib/systemd/system/martlet-collector.service
has /var/lib/martlet/collector/martlet.db /etc/martlet/collector.toml /var/lib/martlet/sensor/kept
inside sh -c 'dpkg -i --force-confdef /new/*.deb' >/dev/null
is_kept "after a removal"

say "purging"
# One after the other: the state of the one is none of the other's.
inside dpkg --purge martlet-sensor >/dev/null
lacks /var/lib/martlet/sensor /etc/martlet/sensor.toml
has /var/lib/martlet/collector/martlet.db
inside dpkg --purge martlet-collector martlet-drill >/dev/null
lacks /var/lib/martlet /etc/martlet /usr/share/martlet-collector
inside getent passwd martlet-collector >/dev/null || wrong "the user is gone, and its number could be another's"
say "the packages are in order"
