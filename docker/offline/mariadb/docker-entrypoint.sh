#!/usr/bin/env bash
# Prepares the data directory on the first start, then becomes the server.
#
# A file says that the first start has begun and not ended: a container that is killed half-way
# starts afresh the next time.
set -Eeuo pipefail
shopt -s nullglob dotglob

data=/var/lib/mysql
begun=$data/.first-start

# setting NAME: the value of MARIADB_NAME or MYSQL_NAME, or what is in the file that either
# with _FILE names.
setting() {
  local name value
  for name in "MARIADB_$1" "MYSQL_$1"; do
    local file=${name}_FILE
    if [ -n "${!file:-}" ]; then
      cat "${!file}"
      return
    fi
    value=${!name:-}
    if [ -n "$value" ]; then
      printf '%s' "$value"
      return
    fi
  done
}

# quoted TEXT: a string of SQL.
quoted() { printf "'%s'" "$(printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")"; }
# name TEXT: a name of SQL.
name() { printf '`%s`' "${1//\`/\`\`}"; }

client() { mariadb --socket="$data/first-start.sock" -u root --batch "$@"; }

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
      *.sql) client "${database:-}" <"$script" ;;
      *.sql.gz) gzip -dc "$script" | client "${database:-}" ;;
      *) echo "ignoring $script: not .sh, .sql or .sql.gz" ;;
    esac
  done
}

first_start() {
  local root database user password server host
  root=$(setting ROOT_PASSWORD)
  database=$(setting DATABASE)
  user=$(setting USER)
  password=$(setting PASSWORD)
  host=$(setting ROOT_HOST)
  if [ -z "$root" ] && [ -z "$(setting ALLOW_EMPTY_ROOT_PASSWORD)$(setting ALLOW_EMPTY_PASSWORD)" ]; then
    echo "error: the administrator has no password: set MARIADB_ROOT_PASSWORD" >&2
    exit 1
  fi
  touch "$begun"
  find "$data" -mindepth 1 ! -path "$begun" -delete
  mariadb-install-db --datadir="$data" --auth-root-authentication-method=normal --skip-test-db \
    --skip-name-resolve >/dev/null
  # Nobody from outside sees the server before its users have passwords.
  "$@" --datadir="$data" --skip-networking --socket="$data/first-start.sock" &
  server=$!
  until client -e 'SELECT 1' >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || exit 1
    sleep 0.1
  done
  if [ -n "$database" ]; then client <<<"CREATE DATABASE IF NOT EXISTS $(name "$database");"; fi
  if [ -n "$user" ]; then
    client <<<"CREATE USER $(quoted "$user")@'%' IDENTIFIED BY $(quoted "$password");"
    if [ -n "$database" ]; then
      client <<<"GRANT ALL ON $(name "${database//_/\\_}").* TO $(quoted "$user")@'%';"
    fi
  fi
  run_scripts
  # The tool that makes the tables adds users without a password.
  client <<<"
    DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');
    FLUSH PRIVILEGES;
    CREATE USER IF NOT EXISTS 'root'@$(quoted "${host:-%}") IDENTIFIED BY $(quoted "$root");
    GRANT ALL ON *.* TO 'root'@$(quoted "${host:-%}") WITH GRANT OPTION;
    ALTER USER 'root'@'localhost' IDENTIFIED BY $(quoted "$root");"
  kill "$server"
  wait "$server"
  rm -f "$data/first-start.sock" "$begun"
  echo "the first start is complete, ready to serve"
}

case ${1:-} in -*) set -- mariadbd "$@" ;; esac
case ${1:-} in
  mariadbd | mysqld) ;;
  *) exec "$@" ;;
esac
for argument in "$@"; do
  case $argument in '-?' | --help | --print-defaults | -V | --version) exec "$@" ;; esac
done

if [ "$(id -u)" -eq 0 ]; then
  find "$data" /run/mysqld ! -user mysql -exec chown mysql:mysql {} +
  exec setpriv --reuid mysql --regid mysql --init-groups -- "$0" "$@"
fi
if [ -e "$begun" ] || [ ! -d "$data/mysql" ]; then
  first_start "$@"
fi
unset MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD MARIADB_PASSWORD MYSQL_PASSWORD
exec "$@"
