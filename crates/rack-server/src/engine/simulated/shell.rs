//! What simulated processes do: a very small shell with the commands scripts
//! rely on. Anything else says what it would have run and succeeds.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::syntax::{self, Command, Join, Pipeline, Word};

/// Where a command reads.
pub(super) type Input<'a> = &'a mut (dyn AsyncRead + Send + Unpin);
/// Where a command writes.
pub(super) type Output<'a> = &'a mut (dyn AsyncWrite + Send + Unpin);

/// What an unknown command does that nothing follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Succeeds at once, as a task.
    Ends,
    /// Goes on until it is stopped, as a server.
    Serves,
}

/// A shell and what its commands see.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    environment: BTreeMap<String, String>,
    directory: String,
    unknown: Unknown,
    /// Rows and columns of its terminal, if it has one.
    terminal: Option<watch::Receiver<(u16, u16)>>,
    status: i64,
    exited: bool,
    stop_on_error: bool,
}

impl Shell {
    /// A shell in a directory.
    pub(super) fn new(
        environment: BTreeMap<String, String>,
        directory: &str,
        unknown: Unknown,
    ) -> Self {
        let directory = format!("/{}", super::tree::clean(directory));
        Self {
            environment,
            directory,
            unknown,
            terminal: None,
            status: 0,
            exited: false,
            stop_on_error: false,
        }
    }

    /// Gives it a terminal.
    pub(super) fn on(mut self, terminal: Option<watch::Receiver<(u16, u16)>>) -> Self {
        self.terminal = terminal;
        self
    }

    /// Runs words as an engine does: no shell unless they name one.
    pub(super) async fn run(
        mut self,
        words: &[String],
        input: Input<'_>,
        output: Output<'_>,
    ) -> io::Result<i64> {
        let status = self.command(words, true, input, output).await?;
        output.flush().await?;
        Ok(status)
    }

    /// Runs a script.
    fn script<'a>(
        &'a mut self,
        text: &'a str,
        serves: bool,
        input: Input<'a>,
        output: Output<'a>,
    ) -> BoxFuture<'a, io::Result<i64>> {
        Box::pin(async move {
            let script = match syntax::parse(text) {
                Ok(script) => script,
                Err(error) => {
                    say(output, &format!("sh: {error}")).await?;
                    return Ok(2);
                }
            };
            for (index, (join, pipeline)) in script.0.iter().enumerate() {
                match join {
                    Join::And if self.status != 0 => continue,
                    Join::Or if self.status == 0 => continue,
                    Join::Then | Join::And | Join::Or => {}
                }
                let rest = &script.0[index + 1..];
                let last = rest.iter().all(|(join, _)| *join == Join::Or);
                self.status = self
                    .pipeline(pipeline, serves && last, input, output)
                    .await?;
                let caught = matches!(rest.first(), Some((Join::And | Join::Or, _)));
                if self.exited || (self.stop_on_error && self.status != 0 && !caught) {
                    break;
                }
            }
            Ok(self.status)
        })
    }

    async fn pipeline(
        &mut self,
        pipeline: &Pipeline,
        serves: bool,
        input: Input<'_>,
        output: Output<'_>,
    ) -> io::Result<i64> {
        let Some((last, before)) = pipeline.split_last() else {
            return Ok(0);
        };
        if before.is_empty() {
            return self.simple(last, serves, input, output).await;
        }
        // Commands of a pipeline run one after the other; each is a shell of its own.
        let mut carried = Vec::new();
        for (index, command) in before.iter().enumerate() {
            let mut next = Vec::new();
            if index == 0 {
                self.clone()
                    .simple(command, false, input, &mut next)
                    .await?;
            } else {
                self.clone()
                    .simple(command, false, &mut carried.as_slice(), &mut next)
                    .await?;
            }
            carried = next;
        }
        self.clone()
            .simple(last, serves, &mut carried.as_slice(), output)
            .await
    }

    async fn simple(
        &mut self,
        command: &Command,
        serves: bool,
        input: Input<'_>,
        output: Output<'_>,
    ) -> io::Result<i64> {
        let (words, silent) = match command {
            Command::Opaque(text) => return self.unknown(text, serves, output).await,
            Command::Simple { words, silent } => (words, *silent),
        };
        let assignments: Vec<(String, Word)> = words.iter().map_while(Word::assignment).collect();
        let rest = &words[assignments.len()..];
        let status = self.status;
        let lookup = |environment: &BTreeMap<String, String>, name: &str| match name {
            "?" => Some(status.to_string()),
            name => environment.get(name).cloned(),
        };
        if rest.is_empty() {
            for (name, value) in &assignments {
                let value = value.text(&|name| lookup(&self.environment, name));
                self.environment.insert(name.clone(), value);
            }
            return Ok(0);
        }
        let fields: Vec<String> = rest
            .iter()
            .flat_map(|word| word.fields(&|name| lookup(&self.environment, name)))
            .collect();
        let mut nothing = tokio::io::sink();
        let output: Output<'_> = if silent { &mut nothing } else { output };
        if assignments.is_empty() {
            return self.command(&fields, serves, input, output).await;
        }
        let mut own = self.clone();
        for (name, value) in &assignments {
            let value = value.text(&|name| lookup(&self.environment, name));
            own.environment.insert(name.clone(), value);
        }
        let status = own.command(&fields, serves, input, output).await?;
        self.exited |= own.exited;
        Ok(status)
    }

    fn command<'a>(
        &'a mut self,
        words: &'a [String],
        serves: bool,
        input: Input<'a>,
        output: Output<'a>,
    ) -> BoxFuture<'a, io::Result<i64>> {
        Box::pin(async move {
            let Some((program, arguments)) = words.split_first() else {
                return Ok(0);
            };
            let name = program.rsplit('/').next().unwrap_or(program);
            let argument = arguments.first().map(String::as_str);
            match name {
                "true" | ":" => Ok(0),
                "false" => Ok(1),
                "exit" | "return" => {
                    self.exited = true;
                    match argument.map(str::parse::<i64>) {
                        None => Ok(self.status),
                        Some(Ok(status)) => Ok(status & 0xff),
                        Some(Err(_)) => {
                            say(
                                output,
                                &format!(
                                    "sh: exit: Illegal number: {}",
                                    argument.unwrap_or_default()
                                ),
                            )
                            .await?;
                            Ok(2)
                        }
                    }
                }
                "exec" => {
                    let status = self.command(arguments, serves, input, output).await?;
                    self.exited |= !arguments.is_empty();
                    Ok(status)
                }
                "sleep" => sleep(arguments, output).await,
                "echo" => {
                    let (arguments, end) = if argument == Some("-n") {
                        (&arguments[1..], "")
                    } else {
                        (arguments, "\n")
                    };
                    output
                        .write_all(format!("{}{end}", arguments.join(" ")).as_bytes())
                        .await?;
                    Ok(0)
                }
                "cat" => self.cat(arguments, input, output).await,
                "env" => self.env(arguments, serves, input, output).await,
                "printenv" => {
                    if arguments.is_empty() {
                        return self.env(&[], serves, input, output).await;
                    }
                    let mut status = 0;
                    for name in arguments {
                        match self.environment.get(name) {
                            Some(value) => say(output, value).await?,
                            None => status = 1,
                        }
                    }
                    Ok(status)
                }
                "pwd" => {
                    say(output, &self.directory).await?;
                    Ok(0)
                }
                "cd" => {
                    let home = self.environment.get("HOME").map_or("/", String::as_str);
                    let target = argument.unwrap_or(home);
                    let target = if target.starts_with('/') {
                        target.to_owned()
                    } else {
                        format!("{}/{target}", self.directory)
                    };
                    self.directory = format!("/{}", super::tree::clean(&target));
                    Ok(0)
                }
                "export" => {
                    for word in arguments {
                        if let Some((name, value)) = word.split_once('=') {
                            self.environment.insert(name.to_owned(), value.to_owned());
                        }
                    }
                    Ok(0)
                }
                "set" => {
                    self.stop_on_error |=
                        argument.is_some_and(|flags| flags.starts_with('-') && flags.contains('e'));
                    Ok(0)
                }
                "stty" => {
                    let Some(terminal) = &self.terminal else {
                        say(output, "stty: standard input: Not a tty").await?;
                        return Ok(1);
                    };
                    if argument == Some("size") {
                        let (rows, columns) = *terminal.borrow();
                        say(output, &format!("{rows} {columns}")).await?;
                    }
                    Ok(0)
                }
                "sh" | "bash" | "ash" | "dash" => self.shell(words, serves, input, output).await,
                _ => self.unknown(&words.join(" "), serves, output).await,
            }
        })
    }

    async fn shell(
        &mut self,
        words: &[String],
        serves: bool,
        input: Input<'_>,
        output: Output<'_>,
    ) -> io::Result<i64> {
        let mut own = self.clone();
        (own.exited, own.stop_on_error, own.status) = (false, false, 0);
        let mut arguments = words[1..].iter();
        while let Some(argument) = arguments.next() {
            let Some(flags) = argument.strip_prefix('-') else {
                return self.unknown(&words.join(" "), serves, output).await;
            };
            own.stop_on_error |= !flags.starts_with('-') && flags.contains('e');
            if !flags.starts_with('-') && flags.contains('c') {
                let Some(script) = arguments.next() else {
                    say(output, "sh: -c requires an argument").await?;
                    return Ok(2);
                };
                return own.script(script, serves, input, output).await;
            }
        }
        // A shell without a script reads its commands.
        while let Some(line) = read_line(input).await? {
            own.script(&line, false, &mut *input, &mut *output).await?;
            if own.exited || (own.stop_on_error && own.status != 0) {
                break;
            }
        }
        Ok(own.status)
    }

    async fn cat(
        &self,
        arguments: &[String],
        input: Input<'_>,
        output: Output<'_>,
    ) -> io::Result<i64> {
        let mut status = 0;
        let stdin = ["-".to_owned()];
        for name in if arguments.is_empty() {
            &stdin[..]
        } else {
            arguments
        } {
            if name == "-" {
                let mut buffer = vec![0; 16 << 10];
                loop {
                    let count = input.read(&mut buffer).await?;
                    if count == 0 {
                        break;
                    }
                    output.write_all(&buffer[..count]).await?;
                    output.flush().await?;
                }
            } else if !name.starts_with('-') {
                say(
                    output,
                    &format!("cat: can't open '{name}': simulated processes have no file system"),
                )
                .await?;
                status = 1;
            }
        }
        Ok(status)
    }

    async fn env(
        &mut self,
        arguments: &[String],
        serves: bool,
        input: Input<'_>,
        output: Output<'_>,
    ) -> io::Result<i64> {
        let mut own = self.clone();
        let mut rest = arguments;
        while let Some((name, value)) = rest.first().and_then(|word| word.split_once('=')) {
            own.environment.insert(name.to_owned(), value.to_owned());
            rest = &rest[1..];
        }
        if !rest.is_empty() {
            return own.command(rest, serves, input, output).await;
        }
        for (name, value) in &own.environment {
            say(output, &format!("{name}={value}")).await?;
        }
        Ok(0)
    }

    async fn unknown(&self, command: &str, serves: bool, output: Output<'_>) -> io::Result<i64> {
        say(output, &format!("simulated: {command}")).await?;
        output.flush().await?;
        if serves && self.unknown == Unknown::Serves {
            // Ended by whoever stops the process.
            std::future::pending::<()>().await;
        }
        Ok(0)
    }
}

async fn say(output: Output<'_>, line: &str) -> io::Result<()> {
    output.write_all(format!("{line}\n").as_bytes()).await
}

async fn sleep(arguments: &[String], output: Output<'_>) -> io::Result<i64> {
    if arguments.is_empty() {
        say(output, "sleep: missing operand").await?;
        return Ok(1);
    }
    // What was said before must not wait for the end of the nap.
    output.flush().await?;
    for argument in arguments {
        if argument == "infinity" {
            std::future::pending::<()>().await;
        }
        let (number, unit) = match argument.char_indices().last() {
            Some((at, 's')) => (&argument[..at], 1.0),
            Some((at, 'm')) => (&argument[..at], 60.0),
            Some((at, 'h')) => (&argument[..at], 3600.0),
            Some((at, 'd')) => (&argument[..at], 86400.0),
            _ => (argument.as_str(), 1.0),
        };
        let duration = number
            .parse::<f64>()
            .ok()
            .and_then(|number| Duration::try_from_secs_f64(number * unit).ok());
        let Some(duration) = duration else {
            say(
                output,
                &format!("sleep: invalid time interval '{argument}'"),
            )
            .await?;
            return Ok(1);
        };
        tokio::time::sleep(duration).await;
    }
    Ok(0)
}

/// Reads one line and not a byte more: what follows belongs to the command on it.
async fn read_line(input: Input<'_>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        match input.read_u8().await {
            Ok(b'\n') => break,
            Ok(byte) => line.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                if line.is_empty() {
                    return Ok(None);
                }
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(
        String::from_utf8_lossy(&line)
            .trim_end_matches('\r')
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_with(words: &[&str], input: &str) -> (i64, String) {
        let environment = BTreeMap::from([
            ("A".to_owned(), "1 2".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ]);
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut output = Vec::new();
        let shell = Shell::new(environment, "/app", Unknown::Ends);
        let status = shell
            .run(&words, &mut input.as_bytes(), &mut output)
            .await
            .expect("memory does not fail");
        (status, String::from_utf8(output).expect("text"))
    }

    async fn sh(script: &str) -> (i64, String) {
        run_with(&["sh", "-c", script], "").await
    }

    #[tokio::test]
    async fn statuses_follow_the_operators() {
        for (script, status) in [
            ("true", 0),
            ("false", 1),
            ("exit 7", 7),
            ("false; true", 0),
            ("true && exit 3", 3),
            ("false && exit 3", 1),
            ("false || exit 4", 4),
            ("false && true || exit 5; exit 6", 5),
            ("set -e; false; exit 9", 1),
            ("set -e; false || true; exit 9", 9),
            ("rake test", 0),
            ("echo 'x", 2),
            ("exit 256", 0),
            ("sh -c 'exit 4'; exit $?", 4),
        ] {
            assert_eq!(sh(script).await.0, status, "{script}");
        }
    }

    #[tokio::test]
    async fn commands_say_what_scripts_expect() {
        assert_eq!(sh("echo a  b; echo -n c").await.1, "a b\nc");
        assert_eq!(
            sh("printenv A; printenv NONE || echo none").await.1,
            "1 2\nnone\n"
        );
        assert_eq!(sh("pwd; cd ../srv; pwd").await.1, "/app\n/srv\n");
        assert_eq!(
            sh("B=x; export C=y; echo $B $C; D=z printenv D").await.1,
            "x y\nz\n"
        );
        assert_eq!(sh("env B=2").await.1, "A=1 2\nB=2\nPATH=/bin\n");
        assert_eq!(
            sh("rake db:migrate").await.1,
            "simulated: rake db:migrate\n"
        );
        assert_eq!(
            sh("echo gone >/dev/null; echo kept 2>/dev/null").await.1,
            "kept\n"
        );
        assert_eq!(sh("echo piped | cat").await.1, "piped\n");
        assert_eq!(run_with(&["echo", "$A"], "").await.1, "$A\n");
    }

    #[tokio::test]
    async fn input_reaches_cat_and_shells() {
        assert_eq!(
            run_with(&["cat"], "all\nof it").await,
            (0, "all\nof it".to_owned())
        );
        assert_eq!(
            run_with(&["sh"], "echo a\nexit 3\necho b\n").await,
            (3, "a\n".to_owned())
        );
        assert_eq!(
            run_with(&["sh"], "cat\nrest\n").await,
            (0, "rest\n".to_owned())
        );
    }

    #[tokio::test]
    async fn sleeping_takes_its_time() {
        let before = tokio::time::Instant::now();
        assert_eq!(sh("sleep 0.01s; sleep 0.0005m").await.0, 0);
        assert!(before.elapsed() >= Duration::from_millis(40));
        assert_eq!(
            sh("sleep soon").await,
            (1, "sleep: invalid time interval 'soon'\n".to_owned())
        );
    }

    #[tokio::test]
    async fn servers_serve_only_as_the_last_command() {
        let words = ["sh", "-c", "rake db:migrate && exec puma || exit 1"].map(str::to_owned);
        let (mut read, mut output) = tokio::io::duplex(1024);
        let mut input = tokio::io::empty();
        let shell = Shell::new(BTreeMap::new(), "/", Unknown::Serves);
        let mut run = Box::pin(shell.run(&words, &mut input, &mut output));
        let expected = "simulated: rake db:migrate\nsimulated: puma\n";
        let mut said = vec![0; expected.len()];
        tokio::select! {
            status = &mut run => panic!("ended with {status:?}"),
            read = tokio::time::timeout(Duration::from_secs(30), read.read_exact(&mut said)) => {
                read.expect("said in time").expect("no end");
            }
        }
        assert_eq!(String::from_utf8(said).expect("text"), expected);
        assert!(futures::poll!(&mut run).is_pending());
    }
}
