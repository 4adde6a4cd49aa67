#!/usr/bin/env bash
# Prepares the data directory on the first start, then becomes the server.
#
# The new cluster is made in a directory beside its final place and moved there when it is complete,
# so a container that is killed half-way starts afresh the next time.
set -Eeuo pipefail
shopt -s nullglob dotglob

# from_file NAME: reads NAME from the file that NAME_FILE names.
from_file() {
  local file=${1}_FILE
  [ -n "${!file:-}" ] || return 0
  if [ -n "${!1:-}" ]; then
    echo "error: both $1 and $file are set: set one of them" >&2
    exit 1
  fi
  export "$1=$(cat "${!file}")"
  unset "$file"
}

as_postgres() {
  HOME=/var/lib/postgresql exec setpriv --reuid postgres --regid postgres --init-groups -- "$@"
}

# Runs a query or a script as the new superuser; ends at the first error.
sql() {
  PGHOST='' PGHOSTADDR='' psql -X -v ON_ERROR_STOP=1 --no-password --username "$POSTGRES_USER" "$@"
}

make_cluster() {
  local dir=$1 args=(--username "$POSTGRES_USER" -D "$1")
  # Options are given as one line; quoting inside of it works as in a shell.
  eval "args+=(${POSTGRES_INITDB_ARGS:-})"
  if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then args+=(--waldir "$POSTGRES_INITDB_WALDIR"); fi
  if [ -n "${POSTGRES_PASSWORD:-}" ]; then
    initdb "${args[@]}" --pwfile <(printf '%s\n' "$POSTGRES_PASSWORD")
  else
    initdb "${args[@]}"
  fi
  printf 'host all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-$(postgres -D "$dir" -C password_encryption)}" \
    >>"$dir/pg_hba.conf"
}

run_scripts() {
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    echo "running $script"
    case $script in
      *.sh)
        if [ -x "$script" ]; then
          "$script"
        else
          # shellcheck disable=SC1090 # whatever the user put there
          . "$script"
        fi
        ;;
      *.sql) sql --dbname "$POSTGRES_DB" -f "$script" ;;
      *.sql.gz) gzip -dc "$script" | sql --dbname "$POSTGRES_DB" ;;
      *.sql.xz) xz -dc "$script" | sql --dbname "$POSTGRES_DB" ;;
      *) echo "ignoring $script: not .sh, .sql, .sql.gz or .sql.xz" ;;
    esac
  done
}

first_start() {
  if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    echo "error: the superuser has no password: set POSTGRES_PASSWORD" >&2
    exit 1
  fi
  local new=$PGDATA/.first-start
  if [ ! -e "$new/complete" ]; then
    rm -rf "$new"
    mkdir -m 700 "$new"
    make_cluster "$new/cluster"
    # Users are created before anybody can connect from outside: sockets of this container only.
    PGDATA=$new/cluster pg_ctl -w -o "-c listen_addresses='' -p 5432" start
    if [ "$POSTGRES_DB" != postgres ]; then
      sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    fi
    run_scripts
    PGDATA=$new/cluster pg_ctl -m fast -w stop
    touch "$new/complete"
  fi
  # PG_VERSION says that the cluster is here: it comes last.
  local entry
  for entry in "$new"/cluster/*; do
    [ "${entry##*/}" = PG_VERSION ] || mv "$entry" "$PGDATA/"
  done
  mv "$new/cluster/PG_VERSION" "$PGDATA/"
  rm -rf "$new"
  echo "the first start is complete, ready to serve"
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" != postgres ]; then
  exec "$@"
fi
for argument in "$@"; do
  case $argument in '-?' | --help | --describe-config | -V | --version) exec "$@" ;; esac
done

if [ "$(id -u)" -eq 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
  chown postgres:postgres /var/run/postgresql
  if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
    install -d -o postgres -g postgres -m 700 "$POSTGRES_INITDB_WALDIR"
  fi
  as_postgres "$0" "$@"
fi

mkdir -p "$PGDATA"
chmod 700 "$PGDATA" || true
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  from_file POSTGRES_PASSWORD
  from_file POSTGRES_USER
  from_file POSTGRES_DB
  from_file POSTGRES_INITDB_ARGS
  : "${POSTGRES_USER:=postgres}"
  : "${POSTGRES_DB:=$POSTGRES_USER}"
  export POSTGRES_USER POSTGRES_DB
  export PGPASSWORD=${POSTGRES_PASSWORD:-}
  # Not in a subshell: bash may replace one by the last command of a script that is sourced in it.
  first_start
  unset PGPASSWORD
fi
exec "$@"
