ALTER TABLE security_events DROP COLUMN recorded_xid;
DROP TRIGGER sessions_set_ended_xid ON sessions;
DROP FUNCTION sessions_set_ended_xid();
ALTER TABLE sessions DROP COLUMN ended_xid;
