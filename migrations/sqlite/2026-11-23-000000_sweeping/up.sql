-- The newest time that an instance left here as a mark: no clock shows an earlier one again.
ALTER TABLE deployment ADD COLUMN newest_mark INTEGER NOT NULL DEFAULT 0;

-- Which instance sweeps, and until when no other takes over.
ALTER TABLE deployment ADD COLUMN sweeper BLOB CHECK (length(sweeper) = 16);
ALTER TABLE deployment ADD COLUMN sweeper_until INTEGER NOT NULL DEFAULT 0;

-- How often a secret was adopted: an instance that started before the last time ends.
ALTER TABLE deployment ADD COLUMN adoptions INTEGER NOT NULL DEFAULT 0;

-- Every secret that an instance ever had or accepted here, as a one-way value. A refused one never comes back.
CREATE TABLE known_secrets (
    key_check BLOB NOT NULL PRIMARY KEY,
    refused INTEGER NOT NULL CHECK (refused IN (0, 1))
) STRICT, WITHOUT ROWID;

INSERT INTO known_secrets (key_check, refused)
SELECT key_check, 0 FROM deployment WHERE key_check IS NOT NULL;
