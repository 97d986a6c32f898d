-- Buckets have counts over all sensors beside those by sensor, each with limits of its own.
-- The lists of a bucket's rows are written one by one, so that those that have not changed need not be written again.
CREATE TABLE live_lists (
    class INTEGER NOT NULL,
    start INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    place INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (class, start, kind, place)
) STRICT;
ALTER TABLE meta ADD COLUMN sensor_overflowed_packets INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN coarsened_sets INTEGER NOT NULL DEFAULT 0;
