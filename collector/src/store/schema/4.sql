-- History: what each UTC day of the archive comes to. docs/history.md explains every table and view.
CREATE TABLE rollup_state (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    -- One more whenever a day is replaced.
    generation INTEGER NOT NULL,
    next_rollup INTEGER NOT NULL
) STRICT;
INSERT INTO rollup_state (id, generation, next_rollup) VALUES (0, 0, 1);
-- The rollup that counts of each day. Rows of any other rollup are being written, or were replaced.
CREATE TABLE rollup_days (
    rollup INTEGER PRIMARY KEY,
    day INTEGER NOT NULL UNIQUE,
    generation INTEGER NOT NULL,
    made_ms INTEGER NOT NULL,
    files TEXT NOT NULL,
    zones TEXT NOT NULL,
    segments BLOB NOT NULL,
    rows INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    excluded_rows INTEGER NOT NULL,
    excluded_packets INTEGER NOT NULL,
    coarse_packets INTEGER NOT NULL,
    folded_services INTEGER NOT NULL
) STRICT;
-- Rollups whose rows are to be deleted if nobody is writing them.
CREATE TABLE rollup_stale (rollup INTEGER PRIMARY KEY) STRICT;
-- Days whose archive has changed since their rollup was begun. The mark grows with each change.
CREATE TABLE rollup_dirty (day INTEGER PRIMARY KEY, mark INTEGER NOT NULL) STRICT;
CREATE TABLE rollup_exclusions (
    exclusion INTEGER PRIMARY KEY,
    sensor TEXT NOT NULL,
    first INTEGER NOT NULL,
    end INTEGER NOT NULL CHECK (end > first),
    added_ms INTEGER NOT NULL,
    UNIQUE (sensor, first, end)
) STRICT;
CREATE TABLE rollup_services (
    rollup INTEGER NOT NULL,
    class INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    service INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sources INTEGER NOT NULL,
    is_exact INTEGER NOT NULL,
    sensors INTEGER NOT NULL,
    quarters BLOB NOT NULL,
    sketch BLOB NOT NULL
) STRICT;
-- Covers sums, so that those do not read what takes most of the room.
CREATE INDEX rollup_services_by_key ON rollup_services
    (rollup, class, scope, service, kind, packets, bytes, sources, is_exact, sensors);
CREATE TABLE rollup_ranks (
    rollup INTEGER NOT NULL,
    class INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    ordering INTEGER NOT NULL,
    page INTEGER NOT NULL,
    entries BLOB NOT NULL,
    PRIMARY KEY (rollup, class, scope, kind, ordering, page)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_groups (
    rollup INTEGER NOT NULL,
    class INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    dimension INTEGER NOT NULL,
    service INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    packets INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sources INTEGER NOT NULL,
    is_exact INTEGER NOT NULL,
    quarters BLOB NOT NULL,
    sketch BLOB NOT NULL,
    PRIMARY KEY (rollup, class, scope, dimension, service, kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_sensor_services (
    rollup INTEGER NOT NULL,
    class INTEGER NOT NULL,
    sensor TEXT NOT NULL,
    service INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    hours BLOB NOT NULL,
    PRIMARY KEY (rollup, class, sensor, service, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_networks (
    rollup INTEGER NOT NULL,
    class INTEGER NOT NULL,
    ip_version INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    -- -1: not known; -2: all that came when there were too many.
    asn INTEGER NOT NULL,
    organisation TEXT,
    packets INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sources INTEGER NOT NULL,
    is_exact INTEGER NOT NULL,
    segments BLOB NOT NULL,
    sketch BLOB NOT NULL,
    PRIMARY KEY (rollup, class, ip_version, kind, asn)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_sources (
    rollup INTEGER NOT NULL,
    class INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    place INTEGER NOT NULL,
    source TEXT NOT NULL,
    packets INTEGER NOT NULL,
    error INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    ports INTEGER NOT NULL,
    region TEXT NOT NULL,
    asn INTEGER,
    organisation TEXT,
    known_scanner TEXT,
    PRIMARY KEY (rollup, class, kind, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_source_lists (
    rollup INTEGER NOT NULL,
    class INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    is_complete INTEGER NOT NULL,
    multi_port_sources INTEGER NOT NULL,
    multi_port_packets INTEGER NOT NULL,
    PRIMARY KEY (rollup, class, kind)
) STRICT, WITHOUT ROWID;
-- Which sensors a scope had when the day was made; scope 0 has all.
CREATE TABLE rollup_scope_sensors (
    rollup INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    sensor TEXT NOT NULL,
    PRIMARY KEY (rollup, scope, sensor)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_first_seen (
    class INTEGER NOT NULL,
    service INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    day INTEGER NOT NULL,
    PRIMARY KEY (class, service, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollup_first_seen_by_day ON rollup_first_seen (class, day);
