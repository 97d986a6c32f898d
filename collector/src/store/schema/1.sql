-- docs/store.md explains every table. Unsigned 64-bit numbers stand as the same bits of a signed one.
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    record INTEGER NOT NULL,
    bucket_seconds INTEGER NOT NULL,
    source_key BLOB NOT NULL CHECK (length(source_key) = 16),
    evicted_buckets INTEGER NOT NULL DEFAULT 0,
    overflowed_packets INTEGER NOT NULL DEFAULT 0,
    recent_overflowed_packets INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE sensors (
    sensor INTEGER PRIMARY KEY,
    origin BLOB NOT NULL UNIQUE CHECK (length(origin) = 16),
    name TEXT NOT NULL UNIQUE,
    lost_batches INTEGER NOT NULL DEFAULT 0,
    lost_windows INTEGER NOT NULL DEFAULT 0,
    lost_packets INTEGER NOT NULL DEFAULT 0,
    lost_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE streams (
    sensor INTEGER NOT NULL REFERENCES sensors,
    epoch INTEGER NOT NULL,
    expected INTEGER NOT NULL,
    predecessor BLOB CHECK (length(predecessor) = 16),
    windows INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    watched_ms INTEGER NOT NULL,
    class INTEGER,
    PRIMARY KEY (sensor, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE classes (
    class INTEGER PRIMARY KEY,
    batches INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first_window INTEGER,
    last_window_end INTEGER,
    last_arrival_ms INTEGER
) STRICT;
CREATE TABLE sensor_classes (
    sensor INTEGER NOT NULL REFERENCES sensors,
    class INTEGER NOT NULL,
    window INTEGER NOT NULL,
    window_seconds INTEGER NOT NULL,
    first_window INTEGER NOT NULL,
    arrived_ms INTEGER NOT NULL,
    clock_offset_ms INTEGER,
    posture INTEGER NOT NULL,
    unavailable INTEGER NOT NULL,
    totals BLOB NOT NULL,
    PRIMARY KEY (sensor, class)
) STRICT, WITHOUT ROWID;
CREATE TABLE sensor_hours (
    hour INTEGER NOT NULL,
    class INTEGER NOT NULL,
    sensor INTEGER NOT NULL REFERENCES sensors,
    window_seconds INTEGER NOT NULL,
    windows INTEGER NOT NULL,
    late_windows INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    kernel_drops INTEGER NOT NULL,
    interface_drops INTEGER NOT NULL,
    lost_batches INTEGER NOT NULL,
    lost_windows INTEGER NOT NULL,
    lost_packets INTEGER NOT NULL,
    lost_ms INTEGER NOT NULL,
    watched_ms INTEGER NOT NULL,
    ipv4_address_ms INTEGER NOT NULL,
    ipv6_prefix_ms INTEGER NOT NULL,
    exposure_unknown INTEGER NOT NULL,
    clock_offset_ms INTEGER,
    PRIMARY KEY (hour, class, sensor)
) STRICT, WITHOUT ROWID;
CREATE TABLE live_buckets (
    class INTEGER NOT NULL,
    start INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (class, start)
) STRICT;
CREATE TABLE live_steps (
    class INTEGER NOT NULL,
    start INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (class, start)
) STRICT;
CREATE TABLE live_observed (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    content BLOB NOT NULL
) STRICT;
