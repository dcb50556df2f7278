DROP TRIGGER security_events_set_recorded_xid;
ALTER TABLE security_events DROP COLUMN recorded_xid;
DROP TRIGGER sessions_set_ended_xid;
ALTER TABLE sessions DROP COLUMN ended_xid;
ALTER TABLE deployment DROP COLUMN commits;
