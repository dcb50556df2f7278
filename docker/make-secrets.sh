#!/bin/sh
# Makes the secrets that compose.yaml mounts, in the folder `secrets` beside this file. Refuses when they are there.
set -eu
cd "$(dirname "$0")"
# 32 random bytes as base64url, which a URL carries as they are.
random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

umask 022
# The folder is closed to others on this machine. The files in it are not, since Docker mounts them as they are, for
# containers that run as other users.
mkdir -m 700 secrets
password=$(random)
printf 'pcs_%s' "$(random)" >secrets/portcullis_secret
random >secrets/postgres_superuser_password
printf '%s' "$password" >secrets/postgres_password
# Between two containers on one machine there is no TLS. For PostgreSQL elsewhere: sslmode=verify-full.
printf 'postgres://portcullis:%s@postgres/portcullis?sslmode=disable' "$password" >secrets/database_url
echo "made $(pwd)/secrets"
