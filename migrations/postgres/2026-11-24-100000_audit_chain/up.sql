-- The sealed events in the order in which they were sealed. A hash is that of the event, of its place and of the hash
-- before it (docs/audit.md). Rows are only inserted, and deleted from the beginning when they are old.
CREATE TABLE audit_chain (
    seq bigint NOT NULL PRIMARY KEY CHECK (seq > 0),
    event_id uuid NOT NULL UNIQUE,
    hash bytea NOT NULL CHECK (length(hash) = 32)
);

-- What was signed about the chain. `public_key` made `signature`; where a secret replaced another, `old_public_key`, that
-- of the secret before, made `old_signature`.
CREATE TABLE audit_heads (
    number bigint NOT NULL PRIMARY KEY CHECK (number > 0),
    kind text NOT NULL,
    seq bigint NOT NULL CHECK (seq >= 0),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    at timestamptz NOT NULL,
    public_key bytea NOT NULL CHECK (length(public_key) = 32),
    signature bytea NOT NULL CHECK (length(signature) = 64),
    old_public_key bytea CHECK (length(old_public_key) = 32),
    old_signature bytea CHECK (length(old_signature) = 64)
);

CREATE INDEX audit_heads_seq ON audit_heads (seq);

-- Which instance seals, and until when no other takes over.
ALTER TABLE deployment ADD COLUMN sealer uuid;
ALTER TABLE deployment ADD COLUMN sealer_until timestamptz NOT NULL DEFAULT 'epoch';
