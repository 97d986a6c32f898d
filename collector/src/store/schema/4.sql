-- The archive: which of its files there are, how far it has read the journal, and what it is doing. docs/archive.md explains it.
CREATE TABLE archive (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    -- Every record of the journal below this one is in a file, or in archive_gaps.
    record INTEGER NOT NULL,
    -- The number of the next operation. Files have the number of the operation that made them as their name.
    next_operation INTEGER NOT NULL
) STRICT;
-- What was committed before there was an archive is not in it.
INSERT INTO archive (id, record, next_operation) SELECT 0, coalesce((SELECT record FROM meta), 0), 1;
CREATE TABLE archive_files (
    file INTEGER PRIMARY KEY,
    day INTEGER NOT NULL,
    name TEXT NOT NULL,
    rows INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    is_coarse INTEGER NOT NULL CHECK (is_coarse IN (0, 1)),
    UNIQUE (day, name)
) STRICT;
-- Operations that have begun. One that adds files is done again after a crash, from the same records; one that replaces
-- files of a day is done if its inputs are gone from the day's directory, and forgotten if not.
CREATE TABLE archive_operations (
    operation INTEGER PRIMARY KEY,
    first_record INTEGER,
    end_record INTEGER,
    day INTEGER,
    CHECK ((first_record IS NULL) = (end_record IS NULL) AND (first_record IS NULL) <> (day IS NULL))
) STRICT;
CREATE TABLE archive_inputs (
    operation INTEGER NOT NULL REFERENCES archive_operations ON DELETE CASCADE,
    file INTEGER NOT NULL REFERENCES archive_files,
    PRIMARY KEY (operation, file)
) STRICT, WITHOUT ROWID;
-- Records of the journal that were not counted when they were replayed, and that the archive must not count either.
CREATE TABLE archive_skips (
    first_record INTEGER PRIMARY KEY,
    end_record INTEGER NOT NULL
) STRICT;
-- Records of the journal that were counted, and that could not be read any more when they were to be archived.
CREATE TABLE archive_gaps (
    first_record INTEGER PRIMARY KEY,
    end_record INTEGER NOT NULL,
    noticed_ms INTEGER NOT NULL
) STRICT;
-- Networks whose addresses are to be masked in every file that there is when the archive's thread takes notice; deleted when
-- that is done.
CREATE TABLE archive_erasures (
    erasure INTEGER PRIMARY KEY AUTOINCREMENT,
    network TEXT NOT NULL,
    asked_ms INTEGER NOT NULL,
    is_begun INTEGER NOT NULL DEFAULT 0 CHECK (is_begun IN (0, 1))
) STRICT;
CREATE TABLE archive_erasure_files (
    erasure INTEGER NOT NULL REFERENCES archive_erasures ON DELETE CASCADE,
    file INTEGER NOT NULL REFERENCES archive_files ON DELETE CASCADE,
    PRIMARY KEY (erasure, file)
) STRICT, WITHOUT ROWID;
