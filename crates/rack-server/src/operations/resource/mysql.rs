//! `MySQL` and `MariaDB`. Their images differ in the names of their programs only.
//!
//! Statements that make tables end a transaction there, so a dump is restored into a copy of
//! the database first, by a user that can touch nothing else. When all of it went well, the
//! tables of the copy take the place of the old ones in one statement; triggers, views, routines
//! and events, which cannot be moved, are made anew right behind it.

use super::kind::{Account, Kind, Ready, Restore, program, variables};
use crate::engine::ExecSpec;

/// The type, as far as both are alike.
pub(super) const fn kind(word: &'static str) -> Kind {
    Kind {
        word,
        repository: "mariadb",
        version: "10.11",
        port: 3306,
        data: Some("/var/lib/mysql"),
        accounts: true,
        rack_user: "app",
        database: "app",
        url: |at| {
            let Account {
                host,
                user,
                password,
                database,
            } = at;
            format!("mysql://{user}:{password}@{host}:3306/{database}")
        },
        // Both images know these names.
        environment: |at| {
            variables(&[
                ("MYSQL_USER", at.user),
                ("MYSQL_PASSWORD", at.password),
                ("MYSQL_DATABASE", at.database),
                ("MYSQL_ROOT_PASSWORD", &root(at)),
            ])
        },
        command: None,
        ready: Ready::Program(|at| {
            let script = format!("{CLIENT}exec $sql -h 127.0.0.1 -u \"$1\" -e 'SELECT 1' \"$2\"");
            session(at, at.password, &script, "ready-mysql", &[])
        }),
        then: None,
        dump: Some(|at| {
            let script = format!("{CLIENT}exec $dump --routines --triggers --events \"$2\"");
            session(at, &root(at), &script, "dump-mysql", &[])
        }),
        restore: Some(Restore::Statements(
            |at, word| {
                let script = format!("{CLIENT}{RESTORE}");
                session(at, &root(at), &script, "restore-mysql", &[word])
            },
            // Wherever the dump ends, in a routine with a delimiter of its own or in the middle
            // of a statement: the word is said back only where a statement may begin.
            |word| format!("\nDELIMITER ;\n;\nSELECT '{word}';\n"),
        )),
        console: Some(|at| {
            let script = format!("{CLIENT}exec $sql -h 127.0.0.1 -u \"$1\" \"$2\"");
            session(at, at.password, &script, "console-mysql", &[])
        }),
    }
}

/// Password of the administrator, who takes part in dumps and restores only.
fn root(at: &Account<'_>) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(format!("root of {}:{}", at.host, at.password));
    rack_api::id::to_hex(&digest[..15])
}

fn session(
    at: &Account<'_>,
    password: &str,
    script: &str,
    name: &str,
    arguments: &[&str],
) -> ExecSpec {
    let words = ["sh", "-c", script, name, at.user, at.database];
    ExecSpec {
        environment: variables(&[("MYSQL_PWD", password)]),
        ..program(&[&words[..], arguments].concat())
    }
}

/// Finds the programs: newer images of `MariaDB` have them under their own names only.
const CLIENT: &str = "
sql=$(command -v mariadb || command -v mysql)
dump=$(command -v mariadb-dump || command -v mysqldump)
dump=\"$dump -h 127.0.0.1 -u root --single-transaction --no-tablespaces --hex-blob\"
";

/// Restores statements from standard input. `$1` is the user, `$2` the database, `$3` the word that the last
/// of them says.
const RESTORE: &str = r#"
set -eu
user=$1 database=$2 word=$3
copy=twinrack_import old=twinrack_before
importer=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
root() { "$sql" -h 127.0.0.1 -u root -N -B -r "$@"; }
umask 077
dir=$(mktemp -d)
forget() {
    printf "REVOKE ALL ON %s.* FROM '%s'@'%%';" "$copy" "$user" | root 2>/dev/null || true
    printf "DROP DATABASE IF EXISTS %s; DROP DATABASE IF EXISTS %s; DROP USER IF EXISTS '%s'@'%%';" \
        "$copy" "$old" "$copy" | root
}
cleanup() {
    forget || true
    rm -rf "$dir"
}
trap cleanup EXIT
cat >"$dir/dump.sql"
forget

# A copy to try it on, and a user for it.
charset=$(root -e "SELECT CONCAT('CHARACTER SET ', default_character_set_name, ' COLLATE ', default_collation_name)
    FROM information_schema.schemata WHERE schema_name = '$database'")
printf 'CREATE DATABASE %s %s; CREATE DATABASE %s %s;' "$copy" "$charset" "$old" "$charset" | root
printf "CREATE USER '%s'@'%%' IDENTIFIED BY '%s'; GRANT ALL ON %s.* TO '%s'@'%%';" \
    "$copy" "$importer" "$copy" "$copy" | root
# Triggers and routines of the user's run with the user's rights.
printf "GRANT ALL ON %s.* TO '%s'@'%%';" "$copy" "$user" | root
# Dumps name who defined a view or a routine; the right to do so has a name of its own in each.
for right in 'SET USER' SET_USER_ID SET_ANY_DEFINER; do
    printf "GRANT %s ON *.* TO '%s'@'%%';" "$right" "$copy" | root 2>/dev/null || true
done
# MariaDB writes the database before the columns of a view, and only there.
views_of() { sed "/^\/\*!50001 VIEW /s/\`$1\`\./\`$2\`./g"; }
$dump --routines --triggers --events "$database" | views_of "$database" "$copy" >"$dir/before.sql"
root "$copy" <"$dir/before.sql"
views_of "$database" "$copy" <"$dir/dump.sql" >"$dir/moved.sql"
MYSQL_PWD=$importer "$sql" -h 127.0.0.1 -u "$copy" -N -B "$copy" \
    <"$dir/moved.sql" >"$dir/said" 2>"$dir/errors" || { cat "$dir/errors" >&2; exit 2; }
[ "$(tail -n 1 "$dir/said")" = "$word" ] || {
    echo "ERROR: the dump ends in the middle of a statement" >&2
    exit 3
}

# Statements that make what is no table in a database, and those that drop it.
name="CONCAT(CHAR(96 USING utf8mb4), REPLACE(@name, CHAR(96 USING utf8mb4), CONCAT(CHAR(96 USING utf8mb4),
    CHAR(96 USING utf8mb4))), CHAR(96 USING utf8mb4))"
quoted() { printf '%s' "$name" | sed "s/@name/$1/"; }
rest() {
    $dump --no-data --no-create-info --skip-add-drop-table --routines --triggers --events "$1"
    root -e "SELECT table_name FROM information_schema.views WHERE table_schema = '$1'" >"$dir/views"
    if [ -s "$dir/views" ]; then
        (
            set -f
            IFS='
'
            views=$(cat "$dir/views")
            set -- "$1" $views
            IFS=' '
            $dump --no-data --skip-triggers "$@"
        )
    fi
}
drops() {
    root -e "SELECT CONCAT('DROP TRIGGER ', $(quoted trigger_name), ';') FROM information_schema.triggers
            WHERE trigger_schema = '$1';
        SELECT CONCAT('DROP VIEW ', $(quoted table_name), ';') FROM information_schema.views
            WHERE table_schema = '$1';
        SELECT CONCAT('DROP ', routine_type, ' ', $(quoted routine_name), ';') FROM information_schema.routines
            WHERE routine_schema = '$1' AND routine_type IN ('FUNCTION', 'PROCEDURE');
        SELECT CONCAT('DROP EVENT ', $(quoted event_name), ';') FROM information_schema.events
            WHERE event_schema = '$1';"
}
moves() {
    root -e "SELECT CONCAT('$1.', $(quoted table_name), ' TO $2.', $(quoted table_name))
        FROM information_schema.tables WHERE table_schema = '$1' AND table_type NOT LIKE '%VIEW'"
}
# What the dump has no definer for is the user's, not the importer's.
rest "$copy" | views_of "$copy" "$database" | sed "s/\`$copy\`@\`%\`/\`$user\`@\`%\`/g" >"$dir/new.sql"
rest "$database" >"$dir/kept.sql"
drops "$copy" | root "$copy"
{ moves "$database" "$old"; moves "$copy" "$database"; } >"$dir/moves"
drops "$database" | root "$database"
if [ -s "$dir/moves" ]; then
    sed -e '1s/^/RENAME TABLE /' -e '$!s/$/,/' "$dir/moves" >"$dir/moves.sql"
    root <"$dir/moves.sql" 2>"$dir/errors" || {
        root "$database" <"$dir/kept.sql"
        cat "$dir/errors" >&2
        exit 4
    }
fi
root "$database" <"$dir/new.sql"
"#;
