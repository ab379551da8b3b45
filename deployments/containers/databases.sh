#!/bin/sh
# Run by PostgreSQL's image when its volume is new: Prefect's database, and the ledger's with its two roles.
# The role that the program works as owns nothing, so that row level security holds for it.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" \
    --set prefect="$PREFECT_DATABASE_PASSWORD" --set owner="$LEDGER_OWNER_PASSWORD" --set ledger="$LEDGER_PASSWORD" <<'SQL'
CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE DATABASE prefect OWNER prefect;
CREATE ROLE ledger_owner LOGIN PASSWORD :'owner';
CREATE ROLE stillmotion LOGIN PASSWORD :'ledger';
CREATE DATABASE ledger OWNER ledger_owner;
SQL
