-- A one-way value of the place where the database lives. A copy that is put elsewhere does not match it, nor does a
-- backup, which has NULL. Empty until an instance sets it.
ALTER TABLE deployment ADD COLUMN home BLOB DEFAULT x'';

-- When the database's contents were copied elsewhere. No instance serves it afterwards.
ALTER TABLE deployment ADD COLUMN moved_at INTEGER;

-- The newest migration that a binary must know to use this schema. Migrations that break older binaries raise it.
ALTER TABLE deployment ADD COLUMN oldest_binary TEXT NOT NULL DEFAULT '';
