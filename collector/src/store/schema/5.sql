-- Who may ask what over HTTP. Of a token only a hash is kept; a name is used by one token at a time.
CREATE TABLE organisations (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO organisations (name) VALUES ('default');
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY,
    public_id BLOB NOT NULL UNIQUE CHECK (length(public_id) = 8),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('public', 'read', 'admin')),
    organisation INTEGER NOT NULL REFERENCES organisations,
    created INTEGER NOT NULL,
    expires INTEGER,
    revoked INTEGER,
    last_used_day INTEGER
) STRICT;
CREATE UNIQUE INDEX tokens_in_use ON tokens (name) WHERE revoked IS NULL;
