DROP TABLE known_secrets;
ALTER TABLE deployment DROP COLUMN adoptions;
ALTER TABLE deployment DROP COLUMN sweeper_until;
ALTER TABLE deployment DROP COLUMN sweeper;
ALTER TABLE deployment DROP COLUMN newest_mark;
