-- The transaction that ended a session or recorded an event. A transaction can commit long after the time it writes
-- down, so polls ask for rows by transaction instead: whatever was unfinished at one poll is asked for by the next.
-- Triggers and defaults set these columns, so that no statement can forget to, including those of an older version.
ALTER TABLE sessions ADD COLUMN ended_xid xid8;

CREATE FUNCTION sessions_set_ended_xid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.ended_xid := pg_current_xact_id();
    RETURN NEW;
END
$$;

CREATE TRIGGER sessions_set_ended_xid BEFORE UPDATE OF ended_at ON sessions FOR EACH ROW
    WHEN (NEW.ended_at IS NOT NULL AND OLD.ended_at IS DISTINCT FROM NEW.ended_at)
    EXECUTE FUNCTION sessions_set_ended_xid();

-- The function is stable, so existing rows share this transaction and the table is not rewritten.
ALTER TABLE security_events ADD COLUMN recorded_xid xid8 NOT NULL DEFAULT pg_current_xact_id();
