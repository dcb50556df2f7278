-- The newest time that an instance left here as a mark: no clock shows an earlier one again.
ALTER TABLE deployment ADD COLUMN newest_mark timestamptz NOT NULL DEFAULT 'epoch';

-- Which instance sweeps, and until when no other takes over.
ALTER TABLE deployment ADD COLUMN sweeper uuid;
ALTER TABLE deployment ADD COLUMN sweeper_until timestamptz NOT NULL DEFAULT 'epoch';

-- How often a secret was adopted: an instance that started before the last time ends.
ALTER TABLE deployment ADD COLUMN adoptions bigint NOT NULL DEFAULT 0;

-- Every secret that an instance ever had or accepted here, as a one-way value. A refused one never comes back.
CREATE TABLE known_secrets (
    key_check bytea NOT NULL PRIMARY KEY,
    refused boolean NOT NULL
);

INSERT INTO known_secrets (key_check, refused)
SELECT key_check, false FROM deployment WHERE key_check IS NOT NULL;
