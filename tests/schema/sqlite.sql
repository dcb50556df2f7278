-- The schema that migrations/ makes. After a change of it, run
-- UPDATE=1 cargo test -p portcullis-adapters --test contract schema_is_the_reviewed_one

CREATE TABLE __diesel_schema_migrations (
       version VARCHAR(50) PRIMARY KEY NOT NULL,
       run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE attempt_counters (
    pseudonym BLOB NOT NULL PRIMARY KEY CHECK (length(pseudonym) = 32),
    -- Whose it is, where there is such a user: for the event of the end.
    user_id BLOB CHECK (length(user_id) = 16),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    -- When the next attempt may be made.
    next_at INTEGER NOT NULL,
    -- The user logged in from this network lately: until then attempts from there count here.
    known_until INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_chain (
    seq INTEGER NOT NULL PRIMARY KEY CHECK (seq > 0),
    event_id BLOB NOT NULL UNIQUE CHECK (length(event_id) = 16),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE audit_heads (
    number INTEGER NOT NULL PRIMARY KEY CHECK (number > 0),
    kind TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq >= 0),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    at INTEGER NOT NULL,
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    signature BLOB NOT NULL CHECK (length(signature) = 64),
    old_public_key BLOB CHECK (length(old_public_key) = 32),
    old_signature BLOB CHECK (length(old_signature) = 64)
) STRICT;

CREATE TABLE deployment (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- A one-way value of the secret in use: an instance that has or accepts another one only refuses to start.
    key_check BLOB,
    -- Sessions opened before this are ended.
    session_floor INTEGER NOT NULL DEFAULT 0
, newest_mark INTEGER NOT NULL DEFAULT 0, sweeper BLOB CHECK (length(sweeper) = 16), sweeper_until INTEGER NOT NULL DEFAULT 0, adoptions INTEGER NOT NULL DEFAULT 0, sealer BLOB CHECK (length(sealer) = 16), sealer_until INTEGER NOT NULL DEFAULT 0, commits INTEGER NOT NULL DEFAULT 0, home BLOB DEFAULT x'', moved_at INTEGER, oldest_binary TEXT NOT NULL DEFAULT '') STRICT;

CREATE TABLE known_secrets (
    key_check BLOB NOT NULL PRIMARY KEY,
    refused INTEGER NOT NULL CHECK (refused IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE security_events (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT,
    user_id BLOB CHECK (length(user_id) = 16),
    session_id BLOB CHECK (length(session_id) = 16),
    address TEXT,
    agent TEXT
, recorded_xid INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;

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
, ended_xid INTEGER) STRICT, WITHOUT ROWID;

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

CREATE INDEX attempt_counters_known_until ON attempt_counters (known_until) WHERE known_until IS NOT NULL;

CREATE INDEX attempt_counters_next_at ON attempt_counters (next_at) WHERE known_until IS NULL;

CREATE INDEX audit_heads_seq ON audit_heads (seq);

CREATE INDEX security_events_recorded_xid ON security_events (recorded_xid, id);

CREATE INDEX security_events_user_id ON security_events (user_id, id);

CREATE INDEX sessions_ended_at ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE INDEX sessions_ended_xid ON sessions (ended_xid) WHERE ended_xid IS NOT NULL;

CREATE INDEX sessions_user_id ON sessions (user_id);

CREATE TRIGGER security_events_set_recorded_xid AFTER INSERT ON security_events FOR EACH ROW
BEGIN
    UPDATE deployment SET commits = commits + 1;
    UPDATE security_events SET recorded_xid = (SELECT commits FROM deployment) WHERE id = NEW.id;
END;

CREATE TRIGGER sessions_set_ended_xid AFTER UPDATE OF ended_at ON sessions FOR EACH ROW
    WHEN NEW.ended_at IS NOT NULL AND OLD.ended_at IS NOT NEW.ended_at
BEGIN
    UPDATE deployment SET commits = commits + 1;
    UPDATE sessions SET ended_xid = (SELECT commits FROM deployment) WHERE id = NEW.id;
END;
