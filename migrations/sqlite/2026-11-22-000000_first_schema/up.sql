-- Times are INTEGER microseconds since 1970, ids 16-byte UUIDs. STRICT tables refuse any other type.

CREATE TABLE users (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    username TEXT NOT NULL,
    -- The form by which names are unique: lower case, NFC.
    canonical_name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    -- Counts password changes; a session opens only for the version that was verified.
    credential_version INTEGER NOT NULL,
    disabled_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a session, however often it is refreshed. No foreign key: a deleted user's sessions must stay known as
-- ended while their access tokens last.
CREATE TABLE sessions (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    generation INTEGER NOT NULL CHECK (generation BETWEEN 0 AND 4294967295),
    opened_at INTEGER NOT NULL,
    rotated_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    absolute_expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    address TEXT,
    agent TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_ended_at ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE security_events (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT,
    user_id BLOB CHECK (length(user_id) = 16),
    session_id BLOB CHECK (length(session_id) = 16),
    address TEXT,
    agent TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX security_events_user_id ON security_events (user_id, id);

-- What all instances over this database share: one row.
CREATE TABLE deployment (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- A one-way value of the secret in use: an instance that has or accepts another one only refuses to start.
    key_check BLOB,
    -- Sessions opened before this are ended.
    session_floor INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO deployment (id) VALUES (1);
