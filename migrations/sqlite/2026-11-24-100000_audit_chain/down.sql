ALTER TABLE deployment DROP COLUMN sealer_until;
ALTER TABLE deployment DROP COLUMN sealer;
DROP TABLE audit_heads;
DROP TABLE audit_chain;
