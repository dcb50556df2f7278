-- How often the password of an account was tried in a row, from anywhere or from one network. A row is named by a keyed
-- hash of the account's name, or of that and the network; names without an account have rows like any other.
CREATE TABLE attempt_counters (
    pseudonym bytea NOT NULL PRIMARY KEY CHECK (octet_length(pseudonym) = 32),
    -- Whose it is, where there is such a user: for the event of the end.
    user_id uuid,
    attempts bigint NOT NULL CHECK (attempts >= 0),
    -- When the next attempt may be made.
    next_at timestamptz NOT NULL,
    -- The user logged in from this network lately: until then attempts from there count here.
    known_until timestamptz
);

-- What the sweeper deletes.
CREATE INDEX attempt_counters_next_at ON attempt_counters (next_at) WHERE known_until IS NULL;
CREATE INDEX attempt_counters_known_until ON attempt_counters (known_until) WHERE known_until IS NOT NULL;
