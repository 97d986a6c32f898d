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
-- Names for views.
CREATE TABLE rollup_classes (class INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO rollup_classes (class, name) VALUES (0, 'real'), (1, 'drill'), (2, 'import');
CREATE TABLE rollup_kinds (kind INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO rollup_kinds (kind, name) VALUES (0, 'scan'), (1, 'backscatter'), (2, 'other');
-- What services are. Those from 2^62 on stand for all that is not told apart, of IPv4 and IPv6.
-- Joins are crossed in the order in which they are cheap: few days, few classes, then what is found by index.
CREATE VIEW services_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class,
    CASE WHEN s.service >> 62 THEN 4 + 2 * (s.service & 1) ELSE 4 + 2 * (s.service >> 52 & 1) END AS ip_version,
    CASE WHEN s.service >> 62 THEN NULL ELSE s.service >> 44 & 255 END AS protocol,
    CASE WHEN s.service >> 62 THEN NULL WHEN s.service >> 40 & 3 = 1 THEN s.service >> 24 & 65535 END AS port,
    CASE WHEN s.service >> 62 THEN NULL WHEN s.service >> 40 & 3 >= 2 THEN s.service >> 32 & 255 END AS icmp_type,
    CASE WHEN s.service >> 62 THEN NULL WHEN s.service >> 40 & 3 >= 2 THEN s.service >> 24 & 255 END AS icmp_code,
    CASE WHEN s.service >> 62 THEN NULL WHEN s.service >> 40 & 3 = 3 THEN s.service >> 16 & 255 END AS quoted_protocol,
    CASE WHEN s.service >> 62 THEN NULL WHEN s.service >> 40 & 3 = 3 THEN s.service & 65535 END AS quoted_port,
    k.name AS kind, s.packets, s.bytes, s.sources, s.is_exact AS sources_exact, s.sensors, s.quarters, s.sketch, s.service
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_services AS s ON s.rollup = d.rollup AND s.class = c.class AND s.scope = 0
    CROSS JOIN rollup_kinds AS k ON k.kind = s.kind;
CREATE VIEW group_services_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, s.scope AS sensor_group,
    CASE WHEN s.service >> 62 THEN 4 + 2 * (s.service & 1) ELSE 4 + 2 * (s.service >> 52 & 1) END AS ip_version,
    CASE WHEN s.service >> 62 THEN NULL ELSE s.service >> 44 & 255 END AS protocol,
    CASE WHEN s.service >> 62 THEN NULL WHEN s.service >> 40 & 3 = 1 THEN s.service >> 24 & 65535 END AS port,
    k.name AS kind, s.packets, s.bytes, s.sources, s.is_exact AS sources_exact, s.sensors, s.quarters, s.sketch, s.service
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_services AS s ON s.rollup = d.rollup AND s.class = c.class AND s.scope > 0
    CROSS JOIN rollup_kinds AS k ON k.kind = s.kind;
CREATE VIEW protocols_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, 4 + 2 * (g.service & 1) AS ip_version,
    CAST(g.name AS INTEGER) AS protocol, k.name AS kind,
    g.packets, g.bytes, g.sources, g.is_exact AS sources_exact, g.quarters, g.sketch
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_groups AS g ON g.rollup = d.rollup AND g.class = c.class AND g.scope = 0 AND g.dimension = 0
    CROSS JOIN rollup_kinds AS k ON k.kind = g.kind;
CREATE VIEW regions_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, 4 + 2 * (g.service & 1) AS ip_version,
    g.name AS region, k.name AS kind, g.packets, g.bytes, g.sources, g.is_exact AS sources_exact, g.quarters, g.sketch
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_groups AS g ON g.rollup = d.rollup AND g.class = c.class AND g.scope = 0 AND g.dimension = 1
        AND g.service >= 1 << 62
    CROSS JOIN rollup_kinds AS k ON k.kind = g.kind;
CREATE VIEW known_scanners_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, 4 + 2 * (g.service & 1) AS ip_version,
    g.name AS known_scanner, k.name AS kind, g.packets, g.bytes, g.sources, g.is_exact AS sources_exact, g.quarters, g.sketch
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_groups AS g ON g.rollup = d.rollup AND g.class = c.class AND g.scope = 0 AND g.dimension = 2
    CROSS JOIN rollup_kinds AS k ON k.kind = g.kind;
CREATE VIEW marks_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, 4 + 2 * (g.service & 1) AS ip_version,
    g.name AS mark, k.name AS kind, g.packets, g.bytes, g.sources, g.is_exact AS sources_exact, g.quarters, g.sketch
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_groups AS g ON g.rollup = d.rollup AND g.class = c.class AND g.scope = 0 AND g.dimension = 3
        AND g.service >= 1 << 62
    CROSS JOIN rollup_kinds AS k ON k.kind = g.kind;
CREATE VIEW sensors_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, 4 + 2 * (g.service & 1) AS ip_version,
    g.name AS sensor, k.name AS kind, g.packets, g.bytes, g.sources, g.is_exact AS sources_exact, g.quarters, g.sketch
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_groups AS g ON g.rollup = d.rollup AND g.class = c.class AND g.scope = 0 AND g.dimension = 4
    CROSS JOIN rollup_kinds AS k ON k.kind = g.kind;
CREATE VIEW port_regions_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, 4 + 2 * (g.service >> 52 & 1) AS ip_version,
    g.service >> 44 & 255 AS protocol, g.service >> 24 & 65535 AS port, g.name AS region, k.name AS kind,
    g.packets, g.bytes, g.sources, g.is_exact AS sources_exact, g.quarters, g.sketch, g.service
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_groups AS g ON g.rollup = d.rollup AND g.class = c.class AND g.scope = 0 AND g.dimension = 1
        AND g.service < 1 << 62
    CROSS JOIN rollup_kinds AS k ON k.kind = g.kind;
CREATE VIEW port_marks_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, 4 + 2 * (g.service >> 52 & 1) AS ip_version,
    g.service >> 44 & 255 AS protocol, CASE g.service >> 40 & 3 WHEN 1 THEN g.service >> 24 & 65535 END AS port,
    g.name AS mark, k.name AS kind,
    g.packets, g.bytes, g.sources, g.is_exact AS sources_exact, g.quarters, g.sketch, g.service
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_groups AS g ON g.rollup = d.rollup AND g.class = c.class AND g.scope = 0 AND g.dimension = 3
        AND g.service < 1 << 62
    CROSS JOIN rollup_kinds AS k ON k.kind = g.kind;
CREATE VIEW sensor_services_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, s.sensor,
    CASE WHEN s.service >> 62 THEN 4 + 2 * (s.service & 1) ELSE 4 + 2 * (s.service >> 52 & 1) END AS ip_version,
    CASE WHEN s.service >> 62 THEN NULL ELSE s.service >> 44 & 255 END AS protocol,
    CASE WHEN s.service >> 62 THEN NULL WHEN s.service >> 40 & 3 = 1 THEN s.service >> 24 & 65535 END AS port,
    s.service >> 62 AS is_rest, k.name AS kind, s.packets, s.hours, s.service
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_sensor_services AS s ON s.rollup = d.rollup AND s.class = c.class
    CROSS JOIN rollup_kinds AS k ON k.kind = s.kind;
CREATE VIEW networks_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, n.ip_version,
    CASE WHEN n.asn >= 0 THEN n.asn END AS asn,
    CASE n.asn WHEN -1 THEN '(unknown)' WHEN -2 THEN '(others)' ELSE n.organisation END AS organisation,
    k.name AS kind, n.packets, n.bytes, n.sources, n.is_exact AS sources_exact, n.sketch
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_networks AS n ON n.rollup = d.rollup AND n.class = c.class
    CROSS JOIN rollup_kinds AS k ON k.kind = n.kind;
CREATE VIEW sources_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, k.name AS kind, s.place + 1 AS place, s.source,
    s.packets, s.error, s.bytes, s.ports, s.region, s.asn, s.organisation, s.known_scanner
FROM rollup_days AS d CROSS JOIN rollup_classes AS c CROSS JOIN rollup_kinds AS k
    CROSS JOIN rollup_sources AS s ON s.rollup = d.rollup AND s.class = c.class AND s.kind = k.kind;
CREATE VIEW source_lists_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, k.name AS kind, l.floor, l.is_complete,
    l.multi_port_sources, l.multi_port_packets
FROM rollup_days AS d CROSS JOIN rollup_classes AS c CROSS JOIN rollup_kinds AS k
    CROSS JOIN rollup_source_lists AS l ON l.rollup = d.rollup AND l.class = c.class AND l.kind = k.kind;
CREATE VIEW first_seen AS
SELECT date(f.day * 86400, 'unixepoch') AS date, c.name AS class, 4 + 2 * (f.service >> 52 & 1) AS ip_version,
    f.service >> 44 & 255 AS protocol, CASE f.service >> 40 & 3 WHEN 1 THEN f.service >> 24 & 65535 END AS port,
    CASE WHEN f.service >> 40 & 3 >= 2 THEN f.service >> 32 & 255 END AS icmp_type,
    CASE WHEN f.service >> 40 & 3 >= 2 THEN f.service >> 24 & 255 END AS icmp_code,
    k.name AS kind, f.service
FROM rollup_first_seen AS f CROSS JOIN rollup_classes AS c ON c.class = f.class
    CROSS JOIN rollup_kinds AS k ON k.kind = f.kind;
CREATE VIEW history_days AS
SELECT date(day * 86400, 'unixepoch') AS date, datetime(made_ms / 1000, 'unixepoch') AS made, generation, rows, packets, bytes,
    excluded_rows, excluded_packets, coarse_packets, folded_services, zones, files
FROM rollup_days;
CREATE VIEW exposure_by_hour AS
SELECT datetime(h.hour, 'unixepoch') AS hour, c.name AS class, s.name AS sensor,
    h.watched_ms / 3600000.0 AS watched_hours, h.ipv4_address_ms / 86400000.0 AS ipv4_address_days,
    h.ipv6_prefix_ms / 86400000.0 AS ipv6_prefix_days, h.exposure_unknown, h.windows, h.lost_windows, h.lost_packets,
    h.kernel_drops, h.interface_drops
FROM sensor_hours AS h CROSS JOIN rollup_classes AS c ON c.class = h.class JOIN sensors AS s USING (sensor);
