# shellcheck shell=bash
# Where the demo lives; sourced by the demo's scripts, and by you to go on playing with it:
#
#   . scripts/demo-env.sh
#
# Its own data, settings and port keep it away from a server of yours. Set DEMO_PORT to move it.

# In bash and zsh alike: the directory above the one this file is in.
demo_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)
demo_dir=$demo_root/.demo
export RACK_SERVER_LISTEN=127.0.0.1:${DEMO_PORT:-5453}
export RACK_SERVER_DATA=$demo_dir/data
export RACK_SERVER_ENGINE=docker
export CONVOX_CONFIG=$demo_dir/config
# What belongs to another rack or host would override the settings.
unset CONVOX_HOST CONVOX_PASSWORD CONVOX_RACK RACK_URL CONVOX_APP
PATH=${CARGO_TARGET_DIR:-$demo_root/target}/release:$PATH
