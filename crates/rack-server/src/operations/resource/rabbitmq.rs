//! `RabbitMQ`: a broker with one virtual host, whose queues live on its volume.

use super::kind::{Kind, Ready, program, variables};

/// The type. It has no export: definitions alone would leave the messages out.
pub(super) const KIND: Kind = Kind {
    word: "rabbitmq",
    repository: "rabbitmq",
    version: "3.10",
    port: 5672,
    data: Some("/var/lib/rabbitmq"),
    accounts: true,
    rack_user: "app",
    database: "app",
    url: |at| {
        format!(
            "amqp://{}:{}@{}:5672/{}",
            at.user, at.password, at.host, at.database
        )
    },
    environment: |at| {
        variables(&[
            ("RABBITMQ_DEFAULT_USER", at.user),
            ("RABBITMQ_DEFAULT_PASS", at.password),
            ("RABBITMQ_DEFAULT_VHOST", at.database),
            // Its data have the name of its node, and the next process has another host name.
            ("RABBITMQ_NODENAME", "rabbit@localhost"),
            // Only programs beside it look for the node.
            ("ERL_EPMD_ADDRESS", "127.0.0.1"),
        ])
    },
    command: None,
    // It begins the conversation only when users and queues are there.
    ready: Ready::Answer(b"AMQP\0\0\x09\x01", b"\x01\0\0"),
    then: None,
    dump: None,
    restore: None,
    console: Some(|at| program(&["sh", "-c", CONSOLE, "console-rabbitmq", at.database])),
};

/// Reads commands of `rabbitmqctl`, line by line. `$1` is the virtual host they are about.
const CONSOLE: &str = r#"
# Run before the broker has one, the program would make a cookie that the broker cannot read.
test -e /var/lib/rabbitmq/.erlang.cookie || { echo "ERROR: the broker is still starting, try again"; exit 1; }
vhost=$1
set -f
say() { if [ -t 0 ]; then printf '%s' "$1"; fi; }
say "Commands of rabbitmqctl for the virtual host $vhost, such as list_queues; help lists them, exit ends.
"
while say 'rabbitmqctl> '; IFS= read -r line || [ -n "$line" ]; do
    case $line in
        '') ;;
        exit | quit) exit 0 ;;
        *) (eval "rabbitmqctl -q --vhost \"\$vhost\" $line") </dev/null || true ;;
    esac
done
"#;
