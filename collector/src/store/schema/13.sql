-- Tokens with which sensors enrol, by the SHA-256 of their secrets (docs/enrolment.md). Times are in seconds since the Unix epoch.
CREATE TABLE enrolment_tokens (
    hash    BLOB PRIMARY KEY CHECK (length(hash) = 32),
    sensor  TEXT NOT NULL,
    -- What is said of the sensor from then on: `label=value`, one a line.
    labels  TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    used    INTEGER,
    revoked INTEGER
) STRICT, WITHOUT ROWID;
-- Certificates of sensors, by serial number; `authority` is the SHA-256 of the certificate of the CA that signed them.
CREATE TABLE sensor_certificates (
    serial    BLOB PRIMARY KEY,
    sensor    TEXT NOT NULL,
    authority BLOB NOT NULL CHECK (length(authority) = 32),
    issued    INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    revoked   INTEGER
) STRICT, WITHOUT ROWID;
