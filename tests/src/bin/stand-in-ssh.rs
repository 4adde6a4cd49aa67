//! Stands for OpenSSH's client in tests: the machine that it leads to is this one, but for a
//! machine called `nowhere`, which is not found. What it was asked is a line in `ssh.log` in
//! the home directory.

#![expect(clippy::print_stderr, reason = "it says what ssh says")]

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let home = PathBuf::from(std::env::var_os("HOME").expect("a home"));
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.join("ssh.log"))
        .expect("a log");
    writeln!(log, "{}", words.join(" ")).expect("written");
    let end = words
        .iter()
        .position(|word| word == "--")
        .expect("an end of options");
    let (machine, command) = (&words[end + 1], &words[end + 2..]);
    if machine == "nowhere" {
        eprintln!("ssh: Could not resolve hostname nowhere: Name or service not known");
        return ExitCode::from(255);
    }
    if let Some(forward) = words.iter().position(|word| word == "-W") {
        return match pipe(&words[forward + 1]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("stdio forwarding failed: {error}");
                ExitCode::from(255)
            }
        };
    }
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    eprintln!("{}: {error}", command[0]);
    ExitCode::from(127)
}

/// Connects standard input and output with an address, each way until its end.
fn pipe(address: &str) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    let mut to = stream.try_clone()?;
    std::thread::spawn(move || {
        let sent = io::copy(&mut io::stdin(), &mut to);
        drop(sent.and_then(|_| to.shutdown(Shutdown::Write)));
    });
    let mut from = stream;
    let mut out = io::stdout();
    let mut room = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut room)?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(&room[..read])?;
        out.flush()?;
    }
}
