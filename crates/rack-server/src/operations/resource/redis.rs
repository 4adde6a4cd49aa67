//! `Redis` and `Valkey`. Their images differ in the names of their programs only.

use std::collections::BTreeMap;

use super::kind::{Kind, Ready, Restore, program};
use crate::engine::ExecSpec;

/// The type, as far as both are alike.
pub(super) const fn kind(word: &'static str) -> Kind {
    Kind {
        word,
        repository: "redis",
        version: "7",
        port: 6379,
        data: Some("/data"),
        accounts: false,
        rack_user: "",
        database: "0",
        url: |at| format!("redis://{}:6379/{}", at.host, at.database),
        environment: |_| BTreeMap::new(),
        command: Some(&["sh", "-c", START]),
        ready: Ready::Program(|_| program(&["sh", "-c", CLIENT, "redis-cli", "ping"])),
        then: Some(&[
            "sh",
            "-c",
            CLIENT,
            "redis-cli",
            "config",
            "set",
            "appendonly",
            "yes",
        ]),
        dump: Some(|_| script(DUMP, &["dump-redis"])),
        restore: Some(Restore::File(|port| {
            script(RESTORE, &["restore-redis", &port.to_string()])
        })),
        console: Some(|_| program(&["sh", "-c", CLIENT, "redis-cli"])),
    }
}

fn script(text: &str, arguments: &[&str]) -> ExecSpec {
    let text = format!("{PROGRAMS}{text}");
    program(&[&["sh", "-c", &text], arguments].concat())
}

/// The client, which every image has under one of the names.
const CLIENT: &str =
    "exec \"$(command -v valkey-cli || command -v redis-cli)\" -h 127.0.0.1 \"$@\"";

/// Finds the programs.
const PROGRAMS: &str = "
cli=$(command -v valkey-cli || command -v redis-cli)
server=$(command -v valkey-server || command -v redis-server)
check=$(command -v valkey-check-rdb || command -v redis-check-rdb)
";

/// Starts Redis so that every write is in a log of its own at once, and not only in the next
/// snapshot. Data of before, which have only a snapshot, are loaded from that: the log is
/// switched on when the server has them.
const START: &str = "server=redis-server; ! command -v valkey-server >/dev/null || server=valkey-server; \
    exec docker-entrypoint.sh \"$server\" --appendonly \
    \"$(test -s dump.rdb && ! test -e appendonlydir && ! test -e appendonly.aof && echo no || echo yes)\"";

/// Writes an RDB file to standard output, by way of a file: straight to its output
/// `redis-cli` would add the mark that ends the transfer.
const DUMP: &str = r#"
set -e
file=$(mktemp)
trap 'rm -f "$file"' EXIT
"$cli" -h 127.0.0.1 --rdb "$file" >/dev/null
cat "$file"
"#;

/// Loads an RDB file from standard input: check, second server, copy, save. Whatever
/// fails, the first server keeps its data. `$1` is a port for the second.
const RESTORE: &str = r#"
set -e
port=$1
dir=$(mktemp -d)
second=
cleanup() {
    "$cli" replicaof no one >/dev/null 2>&1 || true
    if [ -n "$second" ]; then kill -9 "$second" 2>/dev/null || true; fi
    rm -rf "$dir"
}
trap cleanup EXIT
cat >"$dir/dump.rdb"
"$check" "$dir/dump.rdb" >"$dir/check" 2>&1 || {
    sed -n 's/^\[offset [0-9]*\] //p' "$dir/check" | tail -n 1 >&2
    exit 2
}
"$server" --port "$port" --bind 127.0.0.1 --dir "$dir" --dbfilename dump.rdb \
    --save "" --appendonly no --repl-diskless-sync-delay 0 >"$dir/log" 2>&1 &
second=$!
until [ "$("$cli" -p "$port" ping 2>/dev/null)" = PONG ]; do
    kill -0 "$second" 2>/dev/null || { tail -n 4 "$dir/log" >&2; exit 3; }
    sleep 0.1
done
"$cli" replicaof 127.0.0.1 "$port" >/dev/null
until "$cli" info replication | tr -d '\r' | grep -qx master_link_status:up; do
    kill -0 "$second" 2>/dev/null || { echo "the second server ended" >&2; exit 4; }
    sleep 0.1
done
"$cli" replicaof no one >/dev/null
[ "$("$cli" save)" = OK ] || { echo "the data could not be saved" >&2; exit 5; }
persistence() { "$cli" info persistence | tr -d '\r' | grep -qx "$1"; }
if persistence aof_enabled:1; then
    until persistence aof_rewrite_in_progress:0 && persistence aof_rewrite_scheduled:0; do
        sleep 0.1
    done
    persistence aof_last_bgrewrite_status:ok || { echo "the data could not be saved" >&2; exit 6; }
fi
"#;
