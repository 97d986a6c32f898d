-- What the detector of each class knows, and the record of the journal up to which it has read (docs/detection.md).
CREATE TABLE detector (
    class  INTEGER PRIMARY KEY,
    record INTEGER NOT NULL,
    state  BLOB NOT NULL
);
