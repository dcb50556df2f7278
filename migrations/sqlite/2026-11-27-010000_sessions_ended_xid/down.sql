DROP INDEX sessions_ended_xid;
