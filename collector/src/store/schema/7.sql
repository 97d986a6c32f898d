-- What the rows of a rollup come to, whatever their order: two of the same day with the same digest say the same. Those that
-- were made before have none.
ALTER TABLE rollup_days ADD COLUMN digest BLOB;
-- Weeks, Monday to Sunday of a zone, that are closed: figures of a closed week change only with a new revision.
CREATE TABLE rollup_weeks (
    zone TEXT NOT NULL,
    start INTEGER NOT NULL,
    revision INTEGER NOT NULL CHECK (revision >= 1),
    end INTEGER NOT NULL CHECK (end > start),
    closed_ms INTEGER NOT NULL,
    -- The generation of history when it was last looked at.
    generation INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (zone, start, revision)
) STRICT, WITHOUT ROWID;
CREATE VIEW closed_weeks AS
SELECT zone, datetime(start, 'unixepoch') AS start, datetime(end, 'unixepoch') AS end, revision,
    datetime(closed_ms / 1000, 'unixepoch') AS closed
FROM rollup_weeks;
