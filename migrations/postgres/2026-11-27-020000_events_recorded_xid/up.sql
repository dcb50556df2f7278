CREATE INDEX CONCURRENTLY IF NOT EXISTS security_events_recorded_xid ON security_events (recorded_xid, id);
