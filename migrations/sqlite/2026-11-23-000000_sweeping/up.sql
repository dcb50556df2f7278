-- The newest time that an instance left here as a mark: no clock shows an earlier one again.
ALTER TABLE deployment ADD COLUMN newest_mark INTEGER NOT NULL DEFAULT 0;

-- Which instance sweeps, and until when no other takes over.
ALTER TABLE deployment ADD COLUMN sweeper BLOB CHECK (length(sweeper) = 16);
ALTER TABLE deployment ADD COLUMN sweeper_until INTEGER NOT NULL DEFAULT 0;
