-- Events: what the detector called, what analysts said of it, and what was told to whom. docs/events.md.
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    class INTEGER NOT NULL,
    finding INTEGER NOT NULL,
    ip INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    port INTEGER NOT NULL,
    population INTEGER NOT NULL,
    type TEXT NOT NULL,
    onset INTEGER NOT NULL,
    detected INTEGER NOT NULL,
    recorded_ms INTEGER NOT NULL,
    last_active INTEGER NOT NULL,
    ended INTEGER,
    labels TEXT NOT NULL,
    estimates TEXT,
    evidence TEXT NOT NULL,
    state TEXT NOT NULL,
    severity TEXT NOT NULL,
    -- 1 once an analyst has chosen the severity: an escalation leaves it as it is then.
    is_severity_chosen INTEGER NOT NULL,
    owner TEXT,
    recipients TEXT NOT NULL,
    -- Goes up with every entry of the history: what an analyst's answer is held against.
    version INTEGER NOT NULL,
    UNIQUE (class, finding)
) STRICT;
CREATE INDEX events_detected ON events (class, detected);
-- What is asked with every scrape of the metrics is read from indices: rows carry their evidence along.
CREATE INDEX events_counted ON events (class, type, state);
CREATE INDEX events_open ON events (detected) WHERE ended IS NULL AND state != 'resolved';
CREATE TABLE event_history (
    -- In the order in which it happened; a number is never used again, since targets remember up to which they were told.
    change INTEGER PRIMARY KEY AUTOINCREMENT,
    event INTEGER NOT NULL REFERENCES events ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    by TEXT NOT NULL,
    action TEXT NOT NULL,
    note TEXT
) STRICT;
CREATE INDEX event_history_of ON event_history (event, change);
-- Who is told, and of which changes deliveries have been made.
CREATE TABLE event_targets (
    name TEXT PRIMARY KEY,
    change INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE event_deliveries (
    id INTEGER PRIMARY KEY,
    event INTEGER NOT NULL REFERENCES events ON DELETE CASCADE,
    change INTEGER NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_try_ms INTEGER NOT NULL,
    last_error TEXT,
    delivered_ms INTEGER,
    given_up_ms INTEGER,
    UNIQUE (target, change)
) STRICT;
CREATE INDEX event_deliveries_of ON event_deliveries (event);
CREATE INDEX event_deliveries_open ON event_deliveries (target, next_try_ms)
    WHERE delivered_ms IS NULL AND given_up_ms IS NULL;

-- Tokens of analysts. SQLite changes no constraint of a table that is there, so the table is made again.
CREATE TABLE tokens_anew (
    id INTEGER PRIMARY KEY,
    public_id BLOB NOT NULL UNIQUE CHECK (length(public_id) = 8),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('public', 'read', 'analyst', 'admin')),
    organisation INTEGER NOT NULL REFERENCES organisations,
    created INTEGER NOT NULL,
    expires INTEGER,
    revoked INTEGER,
    last_used_day INTEGER
) STRICT;
INSERT INTO tokens_anew SELECT * FROM tokens;
DROP TABLE tokens;
ALTER TABLE tokens_anew RENAME TO tokens;
CREATE UNIQUE INDEX tokens_in_use ON tokens (name) WHERE revoked IS NULL;
