CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_ended_xid ON sessions (ended_xid) WHERE ended_xid IS NOT NULL;
