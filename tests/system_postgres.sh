#!/usr/bin/env bash
# Runs a command with ETL_SYNC_TEST_DSN naming a throw-away cluster made with the system's PostgreSQL binaries.
# Usage: tests/system_postgres.sh COMMAND [ARGUMENT...]
# PG_BIN names another folder of binaries. Without binaries the command does not run, and the reason is printed.
set -euo pipefail

PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}

skip() {
    echo "test-system: not run: $1"
    exit 0
}

[ -x "$PG_BIN/initdb" ] || skip "no PostgreSQL binaries in $PG_BIN (set PG_BIN, or install PostgreSQL 15)"

as_owner=()
if [ "$(id -u)" -eq 0 ]; then # initdb refuses to run as root
    id postgres >/dev/null 2>&1 || skip "PostgreSQL does not run as root, and there is no user postgres to run it as"
    as_owner=(runuser -u postgres --)
fi

# A short path: a Unix socket's may not be longer than 107 bytes.
cluster=$(mktemp -d /tmp/etl-sync-pg.XXXXXX)
stop() {
    "${as_owner[@]}" "$PG_BIN/pg_ctl" --pgdata="$cluster/data" --mode=immediate --silent stop >/dev/null 2>&1 || true
    rm -rf "$cluster"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
port=$("${PYTHON:-python3}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(umask 077 && echo "$password" >"$cluster/password")
if [ "$(id -u)" -eq 0 ]; then chown -R postgres "$cluster"; fi

cd "$cluster" # the owner may not be allowed into the caller's folder
"${as_owner[@]}" "$PG_BIN/initdb" --pgdata="$cluster/data" --username=postgres --pwfile="$cluster/password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$cluster/initdb.log" 2>&1 ||
    { cat "$cluster/initdb.log" >&2; exit 1; }
cat >>"$cluster/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$cluster'
wal_level = logical
max_prepared_transactions = 10
max_connections = 200
timezone = UTC
fsync = off
CONF
"${as_owner[@]}" "$PG_BIN/pg_ctl" --pgdata="$cluster/data" --log="$cluster/server.log" --silent --wait start ||
    { cat "$cluster/server.log" >&2; exit 1; }
cd "$OLDPWD"

echo "test-system: $("$PG_BIN/postgres" --version) on 127.0.0.1:$port"
ETL_SYNC_TEST_DSN="postgresql://postgres:$password@127.0.0.1:$port/postgres" "$@"
