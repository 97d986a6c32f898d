# shellcheck shell=bash
# For the scripts beside it, behind scripts/lib.sh: a release collector with a data directory of its own, stopped when the script ends.

bin=${CARGO_TARGET_DIR:-target}/release
ingest=127.0.0.1:17460
http=127.0.0.1:17461
collector_pid=

# start_collector DATA_DIRECTORY [FLAGS...]: with room for many sensors from one address.
start_collector() {
    local data=$1
    shift
    MARTLET_LOG__FILTER=${MARTLET_LOG__FILTER:-error} MARTLET_INGEST__MAX_CONNECTIONS_PER_ADDRESS=1000 \
        "$bin/martlet-collector" serve --listen $ingest --http $http --data-dir "$data" "$@" &
    collector_pid=$!
    until curl -sf http://$http/readyz >/dev/null; do
        kill -0 "$collector_pid" 2>/dev/null || die "the collector did not start"
        sleep 0.1
    done
}

stop_collector() {
    [ -n "$collector_pid" ] || return 0
    kill "$collector_pid" 2>/dev/null || true
    wait "$collector_pid" 2>/dev/null || true
    collector_pid=
}
