#!/bin/sh
# Becomes the server as the user redis, with the official image's defaults.
set -eu

# Options or a configuration file alone mean the server.
case ${1:-} in
  -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "${1:-}" != redis-server ]; then
  exec "$@"
fi

if [ "$(id -u)" -eq 0 ]; then
  find . ! -user redis -exec chown redis:redis {} +
  exec setpriv --reuid redis --regid redis --init-groups -- "$0" "$@"
fi

# What is stored is for the server alone.
umask 0077

# Inside of a container everybody comes from outside, so the mode that only lets loopback in is off,
# unless an argument or the configuration file has an opinion.
for argument in "$@"; do
  case $argument in
    --protected-mode | -v | --version | -h | --help) exec "$@" ;;
  esac
done
case ${2:-} in
  '' | -*) shift; exec redis-server --protected-mode no "$@" ;;
  *)
    if grep -qis '^[[:space:]]*protected-mode' "$2"; then
      exec "$@"
    fi
    shift
    config=$1
    shift
    exec redis-server "$config" --protected-mode no "$@"
    ;;
esac
