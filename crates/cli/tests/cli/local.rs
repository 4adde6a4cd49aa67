//! Local racks: installing, starting the server, switching, uninstalling.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::{Env, FakeRack, Reply, Request};

/// A server that keeps a list of racks.
fn server(address: &str) -> FakeRack {
    let racks = Mutex::new(Vec::<String>::new());
    FakeRack::start_on(address, move |request: &Request| {
        let mut racks = racks.lock().expect("not poisoned");
        let line = request.line.as_str();
        if line == "GET /check" {
            return Reply::Status(200, "ok");
        }
        let authorized = request.headers.contains_key("authorization");
        match line {
            _ if !authorized => Reply::Status(401, "invalid authentication\n"),
            "POST /racks" => {
                let name = String::from_utf8_lossy(&request.body).replace("name=", "");
                if racks.contains(&name) {
                    return Reply::Status(409, "rack already exists\n");
                }
                racks.push(name);
                match racks.last().map(String::as_str) {
                    Some("staging") => Reply::Json(r#"{"name":"staging","password":"stagingpw"}"#),
                    _ => Reply::Json(r#"{"name":"production","password":"productionpw"}"#),
                }
            }
            "GET /racks" => match racks.len() {
                0 => Reply::Json("[]"),
                1 => Reply::Json(
                    r#"[{"name":"staging","organization":{"name":"personal"},"status":"running"}]"#,
                ),
                _ => Reply::Json(
                    r#"[{"name":"staging","organization":{"name":"personal"},"status":"running"},
                        {"name":"production","organization":{"name":"personal"},"status":"running"}]"#,
                ),
            },
            "DELETE /racks/staging" => {
                racks.retain(|name| name != "staging");
                Reply::Status(200, "ok\n")
            }
            "DELETE /racks/gone" => Reply::Status(404, "rack not found: gone\n"),
            "GET /apps" => Reply::Json("[]"),
            "GET /auth" => Reply::Status(200, "ok\n"),
            _ => Reply::Status(404, ""),
        }
    })
}

/// A server that runs and whose password is known.
fn running() -> (FakeRack, Env) {
    let rack = server("127.0.0.1:0");
    let mut env = Env::new();
    env.set("RACK_SERVER_LISTEN", &rack.host);
    env.put(
        "home/.config/convox/auth",
        format!("{{\"{}\": \"serverpw\"}}", rack.host),
    );
    (rack, env)
}

fn put_program(directory: &Path, text: &str) {
    let path = directory.join("rack-server");
    std::fs::write(&path, text).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

#[test]
fn two_racks_are_installed_listed_and_switched() {
    let (rack, env) = running();
    env.convox("install --stack-name staging")
        .prints("Installing rack... OK, personal/staging\nSwitched to personal/staging\n");
    env.convox("rack install local -n production")
        .prints("Installing rack... OK, personal/production\nSwitched to personal/production\n");
    env.convox("racks").prints(
        "NAME                 STATUS\npersonal/production  running\npersonal/staging     running\n",
    );
    env.convox("switch").prints("personal/production\n");
    env.convox("switch staging")
        .prints("Switched to personal/staging\n");
    env.convox("switch").prints("personal/staging\n");
    env.convox("apps").prints("APP  STATUS  RELEASE\n");
    let request = rack.request("GET /apps");
    assert_eq!(
        request.headers.get("rack").map(String::as_str),
        Some("personal/staging")
    );
    // The rack's own password, not the server's: base64 of `convox:stagingpw`.
    assert_eq!(
        request.headers.get("authorization").map(String::as_str),
        Some("Basic Y29udm94OnN0YWdpbmdwdw==")
    );
    env.convox("switch nope")
        .fails("ERROR: could not find rack: nope\nhint: `convox racks` lists the racks\n");
    env.convox("install --stack-name staging").fails_after(
        "Installing rack... ",
        "ERROR: Stack \"staging\" already exists. Run `convox uninstall` then try again\n",
    );
}

#[test]
fn all_client_generations_find_the_rack() {
    let (rack, env) = running();
    assert_eq!(env.convox("install --stack-name staging").status, 0);
    let host = &rack.host;
    let url = format!("https://convox:stagingpw@{host}");
    assert_eq!(env.get("home/.config/convox/urls/staging"), Some(url));
    // Version 3 finds it as a rack of its console; `rack` would hide `current`.
    assert_eq!(env.get("home/.config/convox/console").as_ref(), Some(host));
    assert_eq!(
        env.get("home/.config/convox/current").as_deref(),
        Some("{\n  \"name\": \"personal/staging\",\n  \"type\": \"console\"\n}")
    );
    assert_eq!(env.get("home/.config/convox/rack"), None);
    assert_eq!(env.get("home/.config/convox2/host").as_ref(), Some(host));
    assert_eq!(
        env.get("home/.config/convox2/racks"),
        Some(format!("{{\n  \"{host}\": \"personal/staging\"\n}}"))
    );
    // Version 2 needs the password too, wherever it was known from.
    assert_eq!(
        env.get("home/.config/convox2/auth"),
        Some(format!("{{\n  \"{host}\": \"serverpw\"\n}}"))
    );
}

#[test]
fn the_words_of_2016_are_taken() {
    let (_rack, env) = running();
    let run = env.convox("install --stack-name staging --region us-east-1 --private creds.csv");
    assert_eq!(run.status, 0);
    assert_eq!(
        run.stderr,
        "note: ignored, a local rack has no use for it: credentials.csv --region --private\n"
    );
    env.convox("rack install aws staging").fails(
        "ERROR: unknown provider: aws\n\
         hint: this client installs local racks: `convox rack install local <name>`\n",
    );
    let run = env.convox("install --stack-name ../x");
    assert!(
        run.stderr.starts_with("ERROR: invalid rack name: ../x"),
        "{}",
        run.stderr
    );
}

#[test]
fn an_uninstalled_rack_leaves_no_settings() {
    let (rack, env) = running();
    assert_eq!(env.convox("install --stack-name staging").status, 0);
    env.convox("uninstall staging")
        .fails("ERROR: must use --force for non-interactive uninstall\n");
    env.convox("rack uninstall local staging --force")
        .prints("Uninstalling personal/staging... OK\n");
    assert_eq!(env.get("home/.config/convox/urls/staging"), None);
    assert_eq!(env.get("home/.config/convox/current"), None);
    assert_eq!(env.get("home/.config/convox2/racks").as_deref(), Some("{}"));
    assert_eq!(
        env.convox("switch").stderr,
        "ERROR: no current rack, use `convox racks` to list and `convox switch <name>` to select\n"
    );
    env.convox("apps").fails(
        "ERROR: no racks found, try `convox install --stack-name <name>` or `convox login <host>`\n",
    );
    assert_eq!(
        env.convox("uninstall gone us-east-1 --force").stderr,
        "ERROR: could not find rack: gone\nhint: `convox racks` lists the racks\n"
    );
    assert!(rack.lines().contains(&"DELETE /racks/staging".to_owned()));
}

#[test]
fn a_server_whose_password_is_unknown_is_not_guessed_at() {
    let rack = server("127.0.0.1:0");
    let mut env = Env::new();
    env.set("RACK_SERVER_LISTEN", &rack.host);
    let host = &rack.host;
    env.convox("install --stack-name staging").fails(&format!(
        "ERROR: a server answers on {host} but its password is not known\n\
         hint: `convox login {host} -p <password>` stores it\n"
    ));
    env.convox(&format!("login {host} -p serverpw"))
        .prints(&format!("Authenticating with {host}... OK\n"));
    assert_eq!(env.convox("install --stack-name staging").status, 0);
}

#[test]
fn a_wrong_password_is_an_invalid_login() {
    let rack = FakeRack::start(|request| match request.line.as_str() {
        "GET /check" => Reply::Status(200, "ok"),
        _ => Reply::Status(401, "invalid authentication\n"),
    });
    let env = Env::new();
    let run = env.convox(&format!("login http://{}/ -p wrong", rack.host));
    assert_eq!(
        (run.stderr.as_str(), run.status),
        ("ERROR: invalid login\n", 1)
    );
    assert_eq!(env.get("home/.config/convox/auth"), None);
    env.convox(&format!("login {}", rack.host))
        .fails("ERROR: standard input is no terminal: give --password or set CONVOX_PASSWORD\n");
}

#[test]
fn another_program_on_the_port_is_named() {
    let other = FakeRack::start(|_| Reply::Status(200, "hello"));
    let mut env = Env::new();
    env.set("RACK_SERVER_LISTEN", &other.host);
    env.convox("install --stack-name staging").fails(&format!(
        "ERROR: {} is taken by another program: stop it or set RACK_SERVER_LISTEN to a free address\n",
        other.host
    ));
    assert_eq!(env.get("home/.config/convox/servers"), None);
}

#[test]
fn without_the_server_program_it_is_said() {
    let mut env = Env::new();
    env.use_copy();
    let run = env.convox("install --stack-name staging");
    assert_eq!(
        (run.stderr.as_str(), run.status),
        (
            "ERROR: can not find the rack-server program next to this one or on the PATH\n",
            1
        )
    );
}

#[test]
fn the_last_words_of_a_server_that_does_not_start_are_shown() {
    let mut env = Env::new();
    put_program(
        &env.use_copy(),
        "#!/bin/sh\necho starting\necho 'docker does not answer' >&2\nexit 3\n",
    );
    let run = env.convox("install --stack-name staging");
    let log = env.path("home/.local/share/twinrack/server.log");
    assert_eq!(
        run.stderr,
        format!(
            "ERROR: the server did not start: docker does not answer (log: {})\n",
            log.display()
        )
    );
    assert_eq!(run.status, 1);
    assert_eq!(
        env.get("home/.config/convox/auth"),
        None,
        "no password of a server that is none"
    );
}

/// Waits for a file, then serves where the program that wrote it should have.
fn serve_after(file: std::path::PathBuf, host: String) -> std::thread::JoinHandle<FakeRack> {
    std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !file.exists() {
            assert!(Instant::now() < deadline, "the server was not started");
            std::thread::sleep(Duration::from_millis(5));
        }
        server(&host)
    })
}

#[test]
fn a_server_is_started_and_after_it_stopped_started_again() {
    let mut env = Env::new();
    let host = env.server_host();
    let (started, data) = (env.path("started"), env.path("home/.local/share/twinrack"));
    put_program(
        &env.use_copy(),
        &format!(
            "#!/bin/sh\necho \"$@ ${{RACK_SERVER_PASSWORD:-none}}\" > {0}.new\n/bin/mv {0}.new {0}\n",
            started.display()
        ),
    );
    let serving = serve_after(started.clone(), host.clone());
    let run = env.convox("install --stack-name staging");
    assert_eq!((run.stderr.as_str(), run.status), ("", 0));
    assert_eq!(
        run.stdout,
        format!(
            "Starting server... OK, {host}\nInstalling rack... OK, personal/staging\n\
             Switched to personal/staging\n"
        )
    );
    let rack = serving.join().expect("served");
    let words = env.get("started").expect("written");
    let (arguments, password) = words.trim().rsplit_once(' ').expect("a password");
    assert_eq!(
        arguments,
        format!("--listen {host} --data {} --detached", data.display())
    );
    assert_eq!(password.len(), 32);
    let auth = env.get("home/.config/convox/auth").expect("stored");
    assert!(
        auth.contains(password),
        "the password is the one that was given to the server"
    );
    assert_eq!(rack.lines().last().map(String::as_str), Some("POST /racks"));

    // The settings survive a server; here it moves to a port where nobody listens.
    let unused = Env::new().server_host();
    for file in ["convox/servers", "convox/auth", "convox/urls/staging"] {
        let path = format!("home/.config/{file}");
        env.put(
            &path,
            env.get(&path).expect("written").replace(&host, &unused),
        );
    }
    std::fs::remove_file(&started).expect("there");
    env.unset("RACK_SERVER_LISTEN");
    let serving = serve_after(started, unused.clone());
    env.convox("apps").prints("APP  STATUS  RELEASE\n");
    serving.join().expect("served");
    let words = env.get("started").expect("written");
    assert_eq!(
        words.trim(),
        format!(
            "--listen {unused} --data {} --detached none",
            data.display()
        )
    );
}
