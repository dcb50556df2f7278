-- How often the password of an account was tried in a row, from anywhere or from one network. A row is named by a keyed
-- hash of the account's name, or of that and the network; names without an account have rows like any other.
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

-- What the sweeper deletes.
CREATE INDEX attempt_counters_next_at ON attempt_counters (next_at) WHERE known_until IS NULL;
CREATE INDEX attempt_counters_known_until ON attempt_counters (known_until) WHERE known_until IS NOT NULL;
