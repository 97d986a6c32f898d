-- Sources that have something in common which only all of their packets of a UTC day show. A rollup that was made before has none:
-- what is not there is not known.
CREATE TABLE rollup_populations (
    rollup INTEGER NOT NULL,
    class INTEGER NOT NULL,
    ip_version INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    population INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    -- Whether all sources of the class were told apart.
    is_complete INTEGER NOT NULL,
    sources INTEGER NOT NULL,
    is_exact INTEGER NOT NULL,
    sketch BLOB NOT NULL,
    PRIMARY KEY (rollup, class, ip_version, kind, population)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_population_names (population INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO rollup_population_names (population, name) VALUES (0, 'mirai'), (1, 'zmap'), (2, 'masscan'), (3, 'nmap'),
    (4, 'unicornscan'), (5, 'multi_port'), (6, 'several_sensors');
CREATE VIEW populations_by_day AS
SELECT date(d.day * 86400, 'unixepoch') AS date, c.name AS class, p.ip_version, k.name AS kind, n.name AS population,
    p.packets, p.sources, p.is_exact AS sources_exact, p.is_complete, p.sketch
FROM rollup_days AS d CROSS JOIN rollup_classes AS c
    CROSS JOIN rollup_populations AS p ON p.rollup = d.rollup AND p.class = c.class
    CROSS JOIN rollup_kinds AS k ON k.kind = p.kind
    CROSS JOIN rollup_population_names AS n ON n.population = p.population;
