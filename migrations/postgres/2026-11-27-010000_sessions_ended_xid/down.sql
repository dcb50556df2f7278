DROP INDEX CONCURRENTLY sessions_ended_xid;
