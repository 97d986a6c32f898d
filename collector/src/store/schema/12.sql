-- What operators say of sensors, by name: one can be labelled before it is heard first (docs/collector.md).
CREATE TABLE sensor_labels (
    sensor TEXT NOT NULL,
    label  TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (sensor, label)
) STRICT, WITHOUT ROWID;
-- Groups of sensors by a value of a label, and their number as `scope` of rollups. A number stands for one value for ever.
CREATE TABLE sensor_groups (
    scope INTEGER PRIMARY KEY CHECK (scope > 0),
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (label, value)
) STRICT;
-- What the sources' regions were looked up in when the day's rows were archived, a line for each; none of days that were made before.
ALTER TABLE rollup_days ADD COLUMN region_data TEXT NOT NULL DEFAULT '';
