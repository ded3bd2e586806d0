-- The first form of the store. Times are nanoseconds since 1970-01-01T00:00:00Z.

-- A key is never deleted, only revoked: audit records name it for ever.
CREATE TABLE keys (
    id      TEXT    NOT NULL PRIMARY KEY,
    project TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    name    TEXT,
    sha256  BLOB    NOT NULL,
    created INTEGER NOT NULL,
    revoked INTEGER
) STRICT;

CREATE TABLE boxes (
    id      TEXT    NOT NULL PRIMARY KEY,
    project TEXT    NOT NULL,
    name    TEXT,
    spec    TEXT    NOT NULL, -- JSON
    runtime TEXT,
    workdir TEXT    NOT NULL,
    labels  TEXT    NOT NULL, -- JSON
    created INTEGER NOT NULL,
    ready   INTEGER NOT NULL  -- 0 while the backend makes it
) STRICT;
CREATE UNIQUE INDEX boxes_by_name ON boxes (project, name) WHERE name IS NOT NULL;

-- What an Idempotency-Key of a create was used for.
CREATE TABLE creations (
    project TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    request BLOB    NOT NULL, -- SHA-256 of the request
    box_id  TEXT    NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, key)
) STRICT;
CREATE INDEX creations_by_age ON creations (created);

CREATE TABLE audit (
    seq         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    time        INTEGER NOT NULL,
    request_id  TEXT    NOT NULL,
    key_id      TEXT    NOT NULL,
    project     TEXT    NOT NULL,
    box_id      TEXT,
    operation   TEXT    NOT NULL,
    path        TEXT,
    bytes       INTEGER NOT NULL,
    entries     INTEGER NOT NULL,
    sha256      TEXT,
    error       TEXT,
    exit_code   INTEGER,
    duration_us INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_by_project ON audit (project, seq);
CREATE INDEX audit_by_box ON audit (box_id, seq) WHERE box_id IS NOT NULL;
