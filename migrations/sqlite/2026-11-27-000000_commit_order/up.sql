-- SQLite commits one transaction at a time, so a counter gives the order of commits. Polls ask for what came after the
-- value they saw last. Triggers set the columns, so that no statement can forget to.
ALTER TABLE deployment ADD COLUMN commits INTEGER NOT NULL DEFAULT 0;

ALTER TABLE sessions ADD COLUMN ended_xid INTEGER;

CREATE TRIGGER sessions_set_ended_xid AFTER UPDATE OF ended_at ON sessions FOR EACH ROW
    WHEN NEW.ended_at IS NOT NULL AND OLD.ended_at IS NOT NEW.ended_at
BEGIN
    UPDATE deployment SET commits = commits + 1;
    UPDATE sessions SET ended_xid = (SELECT commits FROM deployment) WHERE id = NEW.id;
END;

-- Existing events come first.
ALTER TABLE security_events ADD COLUMN recorded_xid INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER security_events_set_recorded_xid AFTER INSERT ON security_events FOR EACH ROW
BEGIN
    UPDATE deployment SET commits = commits + 1;
    UPDATE security_events SET recorded_xid = (SELECT commits FROM deployment) WHERE id = NEW.id;
END;
