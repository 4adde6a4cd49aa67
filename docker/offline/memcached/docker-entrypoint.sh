#!/bin/sh
# Options alone mean the server.
set -eu
case ${1:-} in -*) set -- memcached "$@" ;; esac
exec "$@"
