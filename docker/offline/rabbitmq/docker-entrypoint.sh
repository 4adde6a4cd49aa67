#!/usr/bin/env bash
# Becomes the broker as the user rabbitmq. The broker itself makes the user, password and virtual host
# of RABBITMQ_DEFAULT_* on its first start.
set -euo pipefail

case ${1:-} in rabbitmq*) ;; *) exec "$@" ;; esac
data=/var/lib/rabbitmq
if [ "$(id -u)" -eq 0 ]; then
  # A program that is run beside the broker must not wait for all of its data to be looked at.
  if [ "$1" = rabbitmq-server ]; then
    find "$data" /var/log/rabbitmq /etc/rabbitmq ! -user rabbitmq -exec chown rabbitmq:rabbitmq {} +
  fi
  exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups -- "$0" "$@"
fi
# Erlang makes room for as many files as it may open, which can be a thousand million.
if [ "$1" = rabbitmq-server ] && { [ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -gt 65536 ]; }; then
  ulimit -n 65536
fi
exec "$@"
