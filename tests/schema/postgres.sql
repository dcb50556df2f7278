-- The schema that migrations/ makes. After a change of it, run
-- UPDATE=1 cargo test -p portcullis-adapters --test contract schema_is_the_reviewed_one

CREATE TABLE __diesel_schema_migrations (
    version character varying(50) NOT NULL,
    run_on timestamp without time zone NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT __diesel_schema_migrations_pkey PRIMARY KEY (version)
);

CREATE TABLE attempt_counters (
    pseudonym bytea NOT NULL,
    user_id uuid,
    attempts bigint NOT NULL,
    next_at timestamp with time zone NOT NULL,
    known_until timestamp with time zone,
    CONSTRAINT attempt_counters_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT attempt_counters_pkey PRIMARY KEY (pseudonym),
    CONSTRAINT attempt_counters_pseudonym_check CHECK ((octet_length(pseudonym) = 32))
);

CREATE TABLE audit_chain (
    seq bigint NOT NULL,
    event_id uuid NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_chain_event_id_key UNIQUE (event_id),
    CONSTRAINT audit_chain_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT audit_chain_pkey PRIMARY KEY (seq),
    CONSTRAINT audit_chain_seq_check CHECK ((seq > 0))
);

CREATE TABLE audit_heads (
    number bigint NOT NULL,
    kind text NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    at timestamp with time zone NOT NULL,
    public_key bytea NOT NULL,
    signature bytea NOT NULL,
    old_public_key bytea,
    old_signature bytea,
    CONSTRAINT audit_heads_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT audit_heads_number_check CHECK ((number > 0)),
    CONSTRAINT audit_heads_old_public_key_check CHECK ((length(old_public_key) = 32)),
    CONSTRAINT audit_heads_old_signature_check CHECK ((length(old_signature) = 64)),
    CONSTRAINT audit_heads_pkey PRIMARY KEY (number),
    CONSTRAINT audit_heads_public_key_check CHECK ((length(public_key) = 32)),
    CONSTRAINT audit_heads_seq_check CHECK ((seq >= 0)),
    CONSTRAINT audit_heads_signature_check CHECK ((length(signature) = 64))
);

CREATE TABLE deployment (
    id integer NOT NULL,
    key_check bytea,
    session_floor timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
    newest_mark timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
    sweeper uuid,
    sweeper_until timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
    adoptions bigint NOT NULL DEFAULT 0,
    sealer uuid,
    sealer_until timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
    home bytea DEFAULT '\x'::bytea,
    moved_at timestamp with time zone,
    oldest_binary text NOT NULL DEFAULT ''::text,
    CONSTRAINT deployment_id_check CHECK ((id = 1)),
    CONSTRAINT deployment_pkey PRIMARY KEY (id)
);

CREATE TABLE known_secrets (
    key_check bytea NOT NULL,
    refused boolean NOT NULL,
    CONSTRAINT known_secrets_pkey PRIMARY KEY (key_check)
);

CREATE TABLE security_events (
    id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    detail text,
    user_id uuid,
    session_id uuid,
    address text,
    agent text,
    recorded_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT security_events_pkey PRIMARY KEY (id)
);

CREATE TABLE sessions (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    generation bigint NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    rotated_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    absolute_expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    address text,
    agent text,
    ended_xid xid8,
    CONSTRAINT sessions_generation_check CHECK (((generation >= 0) AND (generation <= '4294967295'::bigint))),
    CONSTRAINT sessions_pkey PRIMARY KEY (id)
) WITH (fillfactor=80);

CREATE TABLE users (
    id uuid NOT NULL,
    username text NOT NULL,
    canonical_name text NOT NULL,
    password_hash text NOT NULL,
    credential_version bigint NOT NULL,
    disabled_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT users_canonical_name_key UNIQUE (canonical_name),
    CONSTRAINT users_pkey PRIMARY KEY (id)
);

CREATE INDEX attempt_counters_known_until ON public.attempt_counters USING btree (known_until) WHERE (known_until IS NOT NULL);
CREATE INDEX attempt_counters_next_at ON public.attempt_counters USING btree (next_at) WHERE (known_until IS NULL);
CREATE INDEX audit_heads_seq ON public.audit_heads USING btree (seq);
CREATE INDEX security_events_recorded_xid ON public.security_events USING btree (recorded_xid, id);
CREATE INDEX security_events_user_id ON public.security_events USING btree (user_id, id);
CREATE INDEX sessions_ended_at ON public.sessions USING btree (ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX sessions_ended_xid ON public.sessions USING btree (ended_xid) WHERE (ended_xid IS NOT NULL);
CREATE INDEX sessions_user_id ON public.sessions USING btree (user_id);

CREATE OR REPLACE FUNCTION public.sessions_set_ended_xid()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    NEW.ended_xid := pg_current_xact_id();
    RETURN NEW;
END
$function$;

CREATE TRIGGER sessions_set_ended_xid BEFORE UPDATE OF ended_at ON public.sessions FOR EACH ROW WHEN (((new.ended_at IS NOT NULL) AND (old.ended_at IS DISTINCT FROM new.ended_at))) EXECUTE FUNCTION sessions_set_ended_xid();
