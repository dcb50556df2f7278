-- The sealed events in the order in which they were sealed. A hash is that of the event, of its place and of the hash
-- before it (docs/audit.md). Rows are only inserted, and deleted from the beginning when they are old.
CREATE TABLE audit_chain (
    seq INTEGER NOT NULL PRIMARY KEY CHECK (seq > 0),
    event_id BLOB NOT NULL UNIQUE CHECK (length(event_id) = 16),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- What was signed about the chain. `public_key` made `signature`; where a secret replaced another, `old_public_key`, that
-- of the secret before, made `old_signature`.
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

CREATE INDEX audit_heads_seq ON audit_heads (seq);

-- Which instance seals, and until when no other takes over.
ALTER TABLE deployment ADD COLUMN sealer BLOB CHECK (length(sealer) = 16);
ALTER TABLE deployment ADD COLUMN sealer_until INTEGER NOT NULL DEFAULT 0;
