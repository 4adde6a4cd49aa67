//! The client in a real terminal: keys, sizes, the status, and the terminal afterwards.

use end_to_end::{PROMPT, Terminal, World, wait_until};

fn deployed(world: &World) {
    world.install(&["staging"]);
    let app = world.example("tiny", "myapp");
    for words in [&["apps", "create", "myapp"][..], &["deploy", "-a", "myapp"]] {
        world.convox_in(&app, words).ok();
    }
}

/// How the terminal treats keys; what a client that leaves must leave as it was.
fn mode(terminal: &mut Terminal) -> String {
    terminal.asks("$(stty -g)")
}

fn keys_sizes_and_statuses(world: &World, words: &str) {
    let mut terminal = world.terminal(30, 100);
    let before = mode(&mut terminal);
    terminal.types(&format!("convox {words} sh -a myapp\n"));
    // The shell over there: it has a terminal of the same size.
    assert_eq!(terminal.asks("$(stty size)"), "30 100");
    assert_eq!(
        terminal.asks("$(test -t 0 && test -t 2 && echo yes)"),
        "yes"
    );
    // What is typed is shown by the terminal over there.
    terminal.types("true typed-by-us\n");
    terminal.shows("typed-by-us");
    for (rows, columns) in [(41, 133), (24, 80)] {
        terminal.resize(rows, columns);
        wait_until("the new size is known over there", || {
            terminal.asks("$(stty size)") == format!("{rows} {columns}")
        });
    }
    // Keys that mean something mean it over there, not to the client.
    terminal
        .types("trap 'printf \"<%s>\\n\" interrupted' INT; printf '<%s>\\n' waiting; sleep 1000\n");
    terminal.shows("<waiting>");
    terminal.types("\u{3}");
    terminal.shows("<interrupted>");
    assert_eq!(terminal.asks("still here"), "still here");
    terminal.types("exit 7\n");
    terminal.shows(PROMPT);
    assert_eq!(terminal.asks("$?"), "7");
    assert_eq!(mode(&mut terminal), before);
    // The end of the input is a key as well.
    terminal.types(&format!("convox {words} sh -a myapp\n"));
    assert_eq!(terminal.asks("$(stty size)"), "24 80");
    terminal.types("\u{4}");
    terminal.shows(PROMPT);
    assert_eq!(terminal.asks("back again"), "back again");
    assert_eq!(mode(&mut terminal), before);
}

/// The client is told to go while its terminal passes every key on.
fn a_client_that_is_ended_puts_the_terminal_back(world: &World) {
    let mut terminal = world.terminal(30, 100);
    let before = mode(&mut terminal);
    // Nobody else's client has this port in its command.
    let command = format!("convox exec web true {};", world.port());
    let script = r#"printf "<%s>\n" begun; exec sleep 1000"#;
    terminal.types(&format!(
        "{} ' {script}' -a myapp\n",
        command.replace(';', "\\;")
    ));
    terminal.shows("<begun>");
    let find = format!("ps -axww -o pid= -o args= | grep '{command}' | grep -v grep");
    let kill = format!("kill -TERM $({find} | awk '{{print $1}}')");
    world.script(world.path(), &kill).ok();
    terminal.shows(PROMPT);
    assert_eq!(terminal.asks("$?"), "143");
    assert_eq!(mode(&mut terminal), before);
}

#[test]
#[ignore = "needs Docker"]
fn a_terminal_is_what_it_is_at_both_ends() {
    let world = World::docker();
    deployed(&world);
    keys_sizes_and_statuses(&world, "run web");
    keys_sizes_and_statuses(&world, "exec web");
    a_client_that_is_ended_puts_the_terminal_back(&world);
}

#[test]
fn a_terminal_has_a_size_and_a_status_simulated() {
    let world = World::simulated();
    deployed(&world);
    let mut terminal = world.terminal(30, 100);
    let before = mode(&mut terminal);
    for words in ["run", "exec"] {
        terminal.types(&format!(
            "convox {words} web 'stty size; exit 7' -a myapp\n"
        ));
        terminal.shows("30 100");
        terminal.shows(PROMPT);
        assert_eq!(terminal.asks("$?"), "7");
        assert_eq!(mode(&mut terminal), before);
    }
}
