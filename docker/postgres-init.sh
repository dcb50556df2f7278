#!/bin/sh
# Runs once, on an empty volume: makes the service's database and its role, which is no superuser.
set -eu
psql --set=ON_ERROR_STOP=1 --username=postgres <<'SQL'
\set password `cat /run/secrets/postgres_password`
CREATE ROLE portcullis LOGIN PASSWORD :'password';
CREATE DATABASE portcullis OWNER portcullis;
SQL
