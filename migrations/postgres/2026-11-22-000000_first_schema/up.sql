CREATE TABLE users (
    id uuid NOT NULL PRIMARY KEY,
    username text NOT NULL,
    -- The form by which names are unique: lower case, NFC.
    canonical_name text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    -- Counts password changes; a session opens only for the version that was verified.
    credential_version bigint NOT NULL,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL
);

-- One row a session, however often it is refreshed. No foreign key: a deleted user's sessions must stay known as
-- ended while their access tokens last. Rotations change no indexed column and find room on their page, so that
-- they touch no index.
CREATE TABLE sessions (
    id uuid NOT NULL PRIMARY KEY,
    user_id uuid NOT NULL,
    generation bigint NOT NULL CHECK (generation BETWEEN 0 AND 4294967295),
    opened_at timestamptz NOT NULL,
    rotated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    absolute_expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    address text,
    agent text
) WITH (fillfactor = 80);

CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_ended_at ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE security_events (
    id uuid NOT NULL PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    detail text,
    user_id uuid,
    session_id uuid,
    address text,
    agent text
);

CREATE INDEX security_events_user_id ON security_events (user_id, id);

-- What all instances over this database share: one row.
CREATE TABLE deployment (
    id integer NOT NULL PRIMARY KEY CHECK (id = 1),
    -- A one-way value of the secret in use: an instance that has or accepts another one only refuses to start.
    key_check bytea,
    -- Sessions opened before this are ended.
    session_floor timestamptz NOT NULL DEFAULT 'epoch'
);

INSERT INTO deployment (id) VALUES (1);
