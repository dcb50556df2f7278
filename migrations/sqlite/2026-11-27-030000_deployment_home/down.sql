ALTER TABLE deployment DROP COLUMN oldest_binary;
ALTER TABLE deployment DROP COLUMN moved_at;
ALTER TABLE deployment DROP COLUMN home;
