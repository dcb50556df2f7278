-- The newest time that an instance left here as a mark: no clock shows an earlier one again.
ALTER TABLE deployment ADD COLUMN newest_mark timestamptz NOT NULL DEFAULT 'epoch';

-- Which instance sweeps, and until when no other takes over.
ALTER TABLE deployment ADD COLUMN sweeper uuid;
ALTER TABLE deployment ADD COLUMN sweeper_until timestamptz NOT NULL DEFAULT 'epoch';
