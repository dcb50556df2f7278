SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.__diesel_schema_migrations (
    version character varying(50) NOT NULL,
    run_on timestamp without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
CREATE TABLE public.attempt_counters (
    pseudonym bytea NOT NULL,
    user_id uuid,
    attempts bigint NOT NULL,
    next_at timestamp with time zone NOT NULL,
    known_until timestamp with time zone,
    CONSTRAINT attempt_counters_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT attempt_counters_pseudonym_check CHECK ((octet_length(pseudonym) = 32))
);
CREATE TABLE public.audit_chain (
    seq bigint NOT NULL,
    event_id uuid NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_chain_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT audit_chain_seq_check CHECK ((seq > 0))
);
CREATE TABLE public.audit_heads (
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
    CONSTRAINT audit_heads_public_key_check CHECK ((length(public_key) = 32)),
    CONSTRAINT audit_heads_seq_check CHECK ((seq >= 0)),
    CONSTRAINT audit_heads_signature_check CHECK ((length(signature) = 64))
);
CREATE TABLE public.deployment (
    id integer NOT NULL,
    key_check bytea,
    session_floor timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    newest_mark timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    sweeper uuid,
    sweeper_until timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    adoptions bigint DEFAULT 0 NOT NULL,
    sealer uuid,
    sealer_until timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    CONSTRAINT deployment_id_check CHECK ((id = 1))
);
CREATE TABLE public.known_secrets (
    key_check bytea NOT NULL,
    refused boolean NOT NULL
);
CREATE TABLE public.security_events (
    id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    detail text,
    user_id uuid,
    session_id uuid,
    address text,
    agent text
);
CREATE TABLE public.sessions (
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
    CONSTRAINT sessions_generation_check CHECK (((generation >= 0) AND (generation <= '4294967295'::bigint)))
)
WITH (fillfactor='80');
CREATE TABLE public.users (
    id uuid NOT NULL,
    username text NOT NULL,
    canonical_name text NOT NULL,
    password_hash text NOT NULL,
    credential_version bigint NOT NULL,
    disabled_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL
);
INSERT INTO public.__diesel_schema_migrations VALUES ('20261122000000', '2026-11-27 14:48:43.149953');
INSERT INTO public.__diesel_schema_migrations VALUES ('20261123000000', '2026-11-27 14:48:43.164305');
INSERT INTO public.__diesel_schema_migrations VALUES ('20261124000000', '2026-11-27 14:48:43.166803');
INSERT INTO public.__diesel_schema_migrations VALUES ('20261124100000', '2026-11-27 14:48:43.169194');
INSERT INTO public.attempt_counters VALUES ('\xb0e31c6712fa0bc2f293ecca2b2252ffd41d5840991176282f4ca1bde10ab074', '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', 1, '2026-11-27 14:48:43.454368+00', '2026-12-27 14:48:43.444673+00');
INSERT INTO public.attempt_counters VALUES ('\x638fc79098f7448a4486a9481cb3fddd853080bd76e64f4532ad9ad6d1e0b28d', '01a21d7a-e626-7528-a92a-a973b97ce374', 0, '2026-11-27 14:48:43.489741+00', '2026-12-27 14:48:43.489741+00');
INSERT INTO public.audit_chain VALUES (1, '01a21d7a-e61c-7626-b37d-eb8099dff592', '\x5ff87512dd4a2b0b0b5ef542cb1b2f203f345be5ea00198fa795b2d938e7c96f');
INSERT INTO public.audit_chain VALUES (2, '01a21d7a-e626-7b51-8e97-47847b00baa7', '\xd6bf6e101fb5db5282c57062b08508c5d8bb38cff9a5086e5056612a46782c1f');
INSERT INTO public.audit_chain VALUES (3, '01a21d7a-e634-75eb-a51a-ad4fb05734e4', '\x1544d4daf4a4cade002ede674489a0197d46ce68cebdbca56fa482cf1aa40b15');
INSERT INTO public.audit_chain VALUES (4, '01a21d7a-e63a-7eb9-81a5-8b797f7e3640', '\x815a9f7a9a1b08e0ec339a33f55219f4b004cbe57216547dba838eca44519157');
INSERT INTO public.audit_chain VALUES (5, '01a21d7a-e6ad-7486-a06b-26f3b139b625', '\x4f13eace85ef45c823cb234134d79d9c09ce037667a825743f73aef6494532ed');
INSERT INTO public.audit_chain VALUES (6, '01a21d7a-e6b4-77bf-8d61-fe850a00a4ec', '\xddba2806d4fe31a4d5cf44957b49cfc6d74269858d80b28444dbd8e02663a6af');
INSERT INTO public.audit_chain VALUES (7, '01a21d7a-e6b9-76dc-813d-08ff7bfa577a', '\x38c926739b85b3569657eb1a329841d9892616a605e5a7eb7c6ba9ab4043f596');
INSERT INTO public.audit_chain VALUES (8, '01a21d7a-e6c0-71cc-8200-5ffa22eb31cc', '\x5846ba49dd15feb3ace7b0c570baf49d0946b8e60c9e5ec0496b5b403c2d04e8');
INSERT INTO public.audit_chain VALUES (9, '01a21d7a-e6c9-7371-98f2-f2e8e54ff730', '\x2b3442e535cf49606b12e341bac70f5dea46abd39d44fbb0c4c6c3d6acb53b52');
INSERT INTO public.audit_chain VALUES (10, '01a21d7a-e6d8-734c-93c6-017847cf5419', '\x18fcfc43f938ec254c6cc9b689559eea446a3eff8f06acfaa830a549720275fc');
INSERT INTO public.audit_chain VALUES (11, '01a21d7a-e6e1-7480-bc7c-ad2f09ed8682', '\x408d93deafd720c079e549e2717ea1c899191f952f4658d7cd165c25f0188a6b');
INSERT INTO public.audit_heads VALUES (1, 'head', 11, '\x408d93deafd720c079e549e2717ea1c899191f952f4658d7cd165c25f0188a6b', '2026-11-27 14:48:53.298276+00', '\xeaa45780c10ce6a47cd7930df18f4aab418a67dbafac3bfd130c046f6bf83aa4', '\x240da76c33f48a4854d95da0bf1bfab8132c4dc73f11f1c26f879a8d96dc859ecd0f9da492a9bfb935f71fbbeb02cc63d10b8462c3996800455d8d3a5b06a509', NULL, NULL);
INSERT INTO public.deployment VALUES (1, '\x361c0612a0d16cfe7218cf314394fa1189c720522c784c573ef24b74af4e1af7', '1970-01-01 00:00:00+00', '2026-11-27 14:48:43.236355+00', '01a21d7a-e5e4-7d28-8764-518383402974', '2026-11-27 14:49:43.236355+00', 0, NULL, '1970-01-01 00:00:00+00');
INSERT INTO public.known_secrets VALUES ('\x361c0612a0d16cfe7218cf314394fa1189c720522c784c573ef24b74af4e1af7', false);
INSERT INTO public.security_events VALUES ('01a21d7a-e61c-7626-b37d-eb8099dff592', '2026-11-27 14:48:43.292756+00', 'user_registered', NULL, '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', NULL, '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e626-7b51-8e97-47847b00baa7', '2026-11-27 14:48:43.302836+00', 'user_registered', NULL, '01a21d7a-e626-7528-a92a-a973b97ce374', NULL, '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e634-75eb-a51a-ad4fb05734e4', '2026-11-27 14:48:43.316721+00', 'user_registered', NULL, '01a21d7a-e634-75d3-8d7e-70d864fd3569', NULL, '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e63a-7eb9-81a5-8b797f7e3640', '2026-11-27 14:48:43.322699+00', 'login_succeeded', NULL, '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', '01a21d7a-e63a-7451-8cb7-d9026192e8bc', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e6ad-7486-a06b-26f3b139b625', '2026-11-27 14:48:43.437146+00', 'login_succeeded', NULL, '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', '01a21d7a-e6ad-73cc-8183-26099e405b6d', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e6b4-77bf-8d61-fe850a00a4ec', '2026-11-27 14:48:43.444673+00', 'login_succeeded', NULL, '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', '01a21d7a-e6b4-7fb6-88bf-fadbcce7ec66', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e6b9-76dc-813d-08ff7bfa577a', '2026-11-27 14:48:43.449575+00', 'logged_out', 'current', '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', '01a21d7a-e6b4-7fb6-88bf-fadbcce7ec66', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e6c0-71cc-8200-5ffa22eb31cc', '2026-11-27 14:48:43.456569+00', 'login_failed', 'wrong_password', '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', NULL, '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e6c9-7371-98f2-f2e8e54ff730', '2026-11-27 14:48:43.465352+00', 'login_succeeded', NULL, '01a21d7a-e634-75d3-8d7e-70d864fd3569', '01a21d7a-e6c9-7c45-a22f-03d82746eed1', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e6d8-734c-93c6-017847cf5419', '2026-11-27 14:48:43.480236+00', 'password_changed', NULL, '01a21d7a-e634-75d3-8d7e-70d864fd3569', '01a21d7a-e6d8-784b-9597-1b1678acefd3', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7a-e6e1-7480-bc7c-ad2f09ed8682', '2026-11-27 14:48:43.489741+00', 'login_succeeded', NULL, '01a21d7a-e626-7528-a92a-a973b97ce374', '01a21d7a-e6e1-7da6-ad72-fc64aa2657a9', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.security_events VALUES ('01a21d7b-0dc7-7529-9dbf-20afc21822b1', '2026-11-27 14:48:53.44735+00', 'user_disabled', NULL, '01a21d7a-e626-7528-a92a-a973b97ce374', NULL, NULL, NULL);
INSERT INTO public.sessions VALUES ('01a21d7a-e63a-7451-8cb7-d9026192e8bc', '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', 2, '2026-11-27 14:48:43.322699+00', '2026-11-27 14:48:43.42463+00', '2026-12-27 14:48:43.42463+00', '2027-02-25 14:48:43.322699+00', NULL, '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.sessions VALUES ('01a21d7a-e6ad-73cc-8183-26099e405b6d', '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', 0, '2026-11-27 14:48:43.437146+00', '2026-11-27 14:48:43.437146+00', '2026-12-27 14:48:43.437146+00', '2027-02-25 14:48:43.437146+00', NULL, '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.sessions VALUES ('01a21d7a-e6b4-7fb6-88bf-fadbcce7ec66', '01a21d7a-e61c-7af1-87ef-549b7e4cb1de', 0, '2026-11-27 14:48:43.444673+00', '2026-11-27 14:48:43.444673+00', '2026-12-27 14:48:43.444673+00', '2027-02-25 14:48:43.444673+00', '2026-11-27 14:48:43.449575+00', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.sessions VALUES ('01a21d7a-e6c9-7c45-a22f-03d82746eed1', '01a21d7a-e634-75d3-8d7e-70d864fd3569', 0, '2026-11-27 14:48:43.465352+00', '2026-11-27 14:48:43.465352+00', '2026-12-27 14:48:43.465352+00', '2027-02-25 14:48:43.465352+00', '2026-11-27 14:48:43.480236+00', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.sessions VALUES ('01a21d7a-e6d8-784b-9597-1b1678acefd3', '01a21d7a-e634-75d3-8d7e-70d864fd3569', 0, '2026-11-27 14:48:43.480236+00', '2026-11-27 14:48:43.480236+00', '2026-12-27 14:48:43.480236+00', '2027-02-25 14:48:43.480236+00', NULL, '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.sessions VALUES ('01a21d7a-e6e1-7da6-ad72-fc64aa2657a9', '01a21d7a-e626-7528-a92a-a973b97ce374', 0, '2026-11-27 14:48:43.489741+00', '2026-11-27 14:48:43.489741+00', '2026-12-27 14:48:43.489741+00', '2027-02-25 14:48:43.489741+00', '2026-11-27 14:48:53.44735+00', '127.0.0.1', 'ureq/3.5.2');
INSERT INTO public.users VALUES ('01a21d7a-e61c-7af1-87ef-549b7e4cb1de', 'alice', 'alice', '$bcrypt-sha256$v=2,t=2b,r=4$G74Cm2QmspcNe4LXsRQMB.$WMCWCvx/VoWzSH70SosOUyRoSaTZk9m', 1, NULL, '2026-11-27 14:48:43.292756+00');
INSERT INTO public.users VALUES ('01a21d7a-e634-75d3-8d7e-70d864fd3569', 'carol', 'carol', '$bcrypt-sha256$v=2,t=2b,r=4$KQ4vZcEHa6epmywe.uLCMO$J8PyJu3mjpBHSK8/KtaUhc74nuZdrgi', 2, NULL, '2026-11-27 14:48:43.316721+00');
INSERT INTO public.users VALUES ('01a21d7a-e626-7528-a92a-a973b97ce374', 'bob', 'bob', '$bcrypt-sha256$v=2,t=2b,r=4$zRataP7k47EqIatvd9ZpfO$bvPHnaw7gSr0AKLTdMq41GSpkBCMC/S', 1, '2026-11-27 14:48:53.44735+00', '2026-11-27 14:48:43.302836+00');
ALTER TABLE ONLY public.__diesel_schema_migrations
    ADD CONSTRAINT __diesel_schema_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.attempt_counters
    ADD CONSTRAINT attempt_counters_pkey PRIMARY KEY (pseudonym);
ALTER TABLE ONLY public.audit_chain
    ADD CONSTRAINT audit_chain_event_id_key UNIQUE (event_id);
ALTER TABLE ONLY public.audit_chain
    ADD CONSTRAINT audit_chain_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.audit_heads
    ADD CONSTRAINT audit_heads_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.deployment
    ADD CONSTRAINT deployment_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.known_secrets
    ADD CONSTRAINT known_secrets_pkey PRIMARY KEY (key_check);
ALTER TABLE ONLY public.security_events
    ADD CONSTRAINT security_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_canonical_name_key UNIQUE (canonical_name);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE INDEX attempt_counters_known_until ON public.attempt_counters USING btree (known_until) WHERE (known_until IS NOT NULL);
CREATE INDEX attempt_counters_next_at ON public.attempt_counters USING btree (next_at) WHERE (known_until IS NULL);
CREATE INDEX audit_heads_seq ON public.audit_heads USING btree (seq);
CREATE INDEX security_events_user_id ON public.security_events USING btree (user_id, id);
CREATE INDEX sessions_ended_at ON public.sessions USING btree (ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX sessions_user_id ON public.sessions USING btree (user_id);
