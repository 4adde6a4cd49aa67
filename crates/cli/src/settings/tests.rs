//! Settings of all client generations, in directories of their own.

use super::*;

const HOST: &str = "127.0.0.1:5443";
const STAGING_URL: &str = "https://convox:secret@127.0.0.1:5443";

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn settings(&self) -> Settings {
        let home = self.0.path().as_os_str().to_owned();
        let variable = |name: &str| match name {
            "HOME" => Some(home.clone()),
            "XDG_CONFIG_HOME" => Some(self.path("xdg").into()),
            _ => None,
        };
        Settings::locate(variable, self.path("work")).expect("directories")
    }

    fn single(&self) -> Settings {
        Settings::locate(
            |name| (name == "CONVOX_CONFIG").then(|| self.path("one").into()),
            self.path("work"),
        )
        .expect("a directory")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn get(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }
}

#[test]
fn without_any_directory_there_are_no_settings() {
    let error = Settings::locate(|_| None, PathBuf::new()).expect_err("nowhere to look");
    assert!(error.to_string().contains("set HOME"), "{error}");
}

#[test]
fn nothing_is_written_by_reading() {
    let home = Home::new();
    let settings = home.settings();
    assert_eq!(settings.current_rack().expect("readable"), None);
    assert_eq!(settings.hosts().expect("readable"), Vec::<String>::new());
    assert!(settings.direct_racks().expect("readable").is_empty());
    assert!(!home.path("xdg").exists());
}

#[test]
fn the_directories_are_searched_in_order() {
    let home = Home::new();
    home.put(".convox/rack", "oldest\n");
    assert_eq!(
        home.settings().current_rack().expect("readable").as_deref(),
        Some("oldest")
    );
    home.put("xdg/convox2/host", "console.example.com");
    home.put(
        "xdg/convox2/racks",
        r#"{"console.example.com": "org/second", "other": "x"}"#,
    );
    assert_eq!(
        home.settings().current_rack().expect("readable").as_deref(),
        Some("org/second")
    );
    home.put(
        "xdg/convox/current",
        r#"{"name": "third", "type": "terraform"}"#,
    );
    assert_eq!(
        home.settings().current_rack().expect("readable").as_deref(),
        Some("third")
    );
    home.put("xdg/convox/rack", " staging \n");
    assert_eq!(
        home.settings().current_rack().expect("readable").as_deref(),
        Some("staging")
    );
}

#[test]
fn the_login_of_the_first_clients_is_a_file() {
    let home = Home::new();
    home.put(".convox", "console.example\nhush\n");
    let settings = home.settings();
    assert_eq!(settings.hosts().expect("hosts"), ["console.example"]);
    let password = |host: &str| settings.password(host).expect("settings");
    assert_eq!(password("console.example").as_deref(), Some("hush"));
    assert_eq!(password("other"), None);
    assert_eq!(settings.secret_files(), [home.path(".convox")]);
    // A login of today wins over it.
    settings
        .set_password("console.example", "new")
        .expect("written");
    assert_eq!(password("console.example").as_deref(), Some("new"));
}

#[test]
fn passwords_of_other_hosts_are_kept() {
    let home = Home::new();
    home.put("xdg/convox2/auth", r#"{"console.example.com": "old"}"#);
    let settings = home.settings();
    settings
        .set_password("127.0.0.1:5443", "new")
        .expect("writable");
    assert_eq!(
        settings
            .password("console.example.com")
            .expect("readable")
            .as_deref(),
        Some("old")
    );
    assert_eq!(
        settings
            .password("127.0.0.1:5443")
            .expect("readable")
            .as_deref(),
        Some("new")
    );
    let second = home.get("xdg/convox2/auth").expect("written");
    assert_eq!(
        second,
        "{\n  \"127.0.0.1:5443\": \"new\",\n  \"console.example.com\": \"old\"\n}"
    );
    assert_eq!(
        home.get("xdg/convox/auth").expect("written"),
        "{\n  \"127.0.0.1:5443\": \"new\"\n}"
    );
}

#[cfg(unix)]
#[test]
fn secrets_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let settings = home.settings();
    settings.set_password("host", "new").expect("writable");
    settings
        .set_direct_rack("staging", "https://convox:secret@127.0.0.1:5443")
        .expect("writable");
    let mode = |path: &str| {
        fs::metadata(home.path(path))
            .expect("there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("xdg/convox/auth"), 0o600);
    assert_eq!(mode("xdg/convox/racks/staging"), 0o600);
    assert_eq!(mode("xdg/convox"), 0o700);
}

#[test]
fn a_current_rack_is_current_for_every_generation() {
    let home = Home::new();
    home.put(
        "xdg/convox2/racks",
        r#"{"console.example.com": "org/rack"}"#,
    );
    home.put("xdg/convox/rack", "former");
    let settings = home.settings();
    settings.offer_console(HOST).expect("writable");
    settings
        .set_direct_rack("staging", STAGING_URL)
        .expect("writable");
    settings
        .set_current_rack(Some(HOST), "personal/staging", Some("staging"))
        .expect("writable");
    // Version 3: a rack of its console, so that its own switch works.
    assert_eq!(home.get("xdg/convox/console").as_deref(), Some(HOST));
    assert_eq!(
        home.get("xdg/convox/current").as_deref(),
        Some("{\n  \"name\": \"personal/staging\",\n  \"type\": \"console\"\n}")
    );
    assert_eq!(home.get("xdg/convox/rack"), None, "found before `current`");
    assert!(!home.path("xdg/convox/racks").exists());
    // Version 2.
    assert_eq!(home.get("xdg/convox2/host").as_deref(), Some(HOST));
    let racks = read_map(&home.path("xdg/convox2/racks")).expect("readable");
    assert_eq!(
        racks.get(HOST).map(String::as_str),
        Some("personal/staging")
    );
    assert_eq!(
        racks.get("console.example.com").map(String::as_str),
        Some("org/rack")
    );
    // This client.
    assert_eq!(
        settings.current_rack().expect("readable").as_deref(),
        Some("personal/staging")
    );
    assert_eq!(
        settings.direct_racks().expect("readable")["staging"],
        STAGING_URL
    );

    settings
        .forget_rack(HOST, "personal/staging", "staging")
        .expect("writable");
    assert_eq!(home.get("xdg/convox/current"), None);
    assert!(settings.direct_racks().expect("readable").is_empty());
    let racks = read_map(&home.path("xdg/convox2/racks")).expect("readable");
    assert_eq!(
        racks.into_keys().collect::<Vec<_>>(),
        ["console.example.com"]
    );
}

#[test]
fn the_console_of_version_3_stays_and_racks_are_found_beside_it() {
    let home = Home::new();
    home.put("xdg/convox/console", "console.example.com");
    let settings = home.settings();
    settings.offer_console(HOST).expect("writable");
    settings
        .set_direct_rack("staging", STAGING_URL)
        .expect("writable");
    settings
        .set_current_rack(Some(HOST), "personal/staging", Some("staging"))
        .expect("writable");
    assert_eq!(
        home.get("xdg/convox/console").as_deref(),
        Some("console.example.com")
    );
    assert_eq!(
        home.get("xdg/convox/racks/staging").as_deref(),
        Some(STAGING_URL)
    );
    assert_eq!(home.get("xdg/convox/rack").as_deref(), Some("staging"));
    settings
        .set_current_rack(Some("console.example.com"), "org/rack", None)
        .expect("writable");
    assert_eq!(home.get("xdg/convox/rack"), None);
    assert_eq!(
        settings.current_rack().expect("readable").as_deref(),
        Some("org/rack")
    );
}

#[test]
fn version_3_finds_each_rack_in_one_way_after_a_login() {
    let home = Home::new();
    home.put("xdg/convox/racks/terraform/main.tf", "");
    let settings = home.settings();
    settings.offer_console(HOST).expect("writable");
    settings
        .set_direct_rack("staging", STAGING_URL)
        .expect("writable");
    settings
        .set_direct_rack("terraform", "https://convox:x@127.0.0.1:5443")
        .expect("a directory of that name does not matter");
    settings
        .set_current_rack(Some(HOST), "personal/staging", Some("staging"))
        .expect("writable");
    settings
        .set_host("console.example.com", None, false)
        .expect("writable");
    assert_eq!(
        home.get("xdg/convox/racks/staging").as_deref(),
        Some(STAGING_URL)
    );
    assert_eq!(home.get("xdg/convox/urls/staging"), None);
    assert_eq!(
        home.get("xdg/convox/current"),
        None,
        "a rack of the former console"
    );
    settings.set_host(HOST, None, false).expect("writable");
    assert_eq!(home.get("xdg/convox/racks/staging"), None);
    assert_eq!(
        home.get("xdg/convox/urls/staging").as_deref(),
        Some(STAGING_URL)
    );
    assert!(home.path("xdg/convox/racks/terraform/main.tf").exists());
}

#[test]
fn a_login_by_another_client_is_noticed_by_the_next_switch() {
    let home = Home::new();
    let settings = home.settings();
    settings
        .set_direct_rack("staging", STAGING_URL)
        .expect("writable");
    assert!(home.path("xdg/convox/racks/staging").exists());
    home.put("xdg/convox/console", HOST);
    settings
        .set_current_rack(Some(HOST), "personal/staging", Some("staging"))
        .expect("writable");
    assert!(!home.path("xdg/convox/racks/staging").exists());
    assert_eq!(
        settings.direct_racks().expect("readable")["staging"],
        STAGING_URL
    );
}

#[test]
fn another_rack_stays_current() {
    let home = Home::new();
    let settings = home.settings();
    settings
        .set_current_rack(Some("h"), "personal/production", Some("production"))
        .expect("writable");
    settings
        .forget_rack("h", "personal/staging", "staging")
        .expect("writable");
    assert_eq!(
        settings.current_rack().expect("readable").as_deref(),
        Some("production")
    );
}

#[test]
fn one_directory_can_hold_everything() {
    let home = Home::new();
    let settings = home.single();
    settings.offer_console(HOST).expect("writable");
    settings
        .set_direct_rack("staging", STAGING_URL)
        .expect("writable");
    settings
        .set_current_rack(Some(HOST), "personal/staging", Some("staging"))
        .expect("writable");
    settings.set_password(HOST, "p").expect("writable");
    assert_eq!(
        settings.current_rack().expect("readable").as_deref(),
        Some("personal/staging")
    );
    assert_eq!(
        settings
            .direct_racks()
            .expect("readable")
            .into_keys()
            .collect::<Vec<_>>(),
        ["staging"]
    );
    assert_eq!(settings.hosts().expect("readable"), [HOST]);
    // As a file it breaks version 3, as a directory version 2.
    assert!(!home.path("one/racks").exists());

    home.put("one/racks", "{}");
    settings
        .set_current_rack(Some(HOST), "personal/production", None)
        .expect("writable");
    let racks = read_map(&home.path("one/racks")).expect("readable");
    assert_eq!(racks[HOST], "personal/production", "version 2 uses it");
}

#[test]
fn racks_may_be_a_file_where_a_directory_is_expected() {
    let home = Home::new();
    home.put("xdg/convox/host", "h");
    home.put("xdg/convox/racks", r#"{"h": "org/rack"}"#);
    let settings = home.settings();
    assert_eq!(
        settings.current_rack().expect("readable").as_deref(),
        Some("org/rack")
    );
    settings
        .set_direct_rack("staging", "https://x@127.0.0.1:5443")
        .expect("nothing to do");
    settings
        .forget_rack("h", "personal/staging", "staging")
        .expect("nothing to do");
    assert_eq!(
        home.get("xdg/convox/racks").as_deref(),
        Some(r#"{"h": "org/rack"}"#)
    );
}

#[test]
fn terraform_racks_and_hidden_files_are_passed_over() {
    let home = Home::new();
    home.put("xdg/convox/racks/terraform/main.tf", "");
    home.put("xdg/convox/racks/.lock", "x");
    home.put(
        "xdg/convox/racks/direct",
        "https://convox:p@rack.example.com\n",
    );
    let racks = home.settings().direct_racks().expect("readable");
    assert_eq!(
        racks.into_iter().collect::<Vec<_>>(),
        [(
            "direct".to_owned(),
            "https://convox:p@rack.example.com".to_owned()
        )]
    );
}

#[test]
fn a_broken_file_is_an_error_that_names_it() {
    let home = Home::new();
    home.put("xdg/convox/auth", "{");
    let error = home
        .settings()
        .password("h")
        .expect_err("broken")
        .to_string();
    assert!(
        error.contains("auth") && error.contains("correct or remove it"),
        "{error}"
    );
    assert_eq!(
        home.get("xdg/convox/auth").as_deref(),
        Some("{"),
        "left as it was"
    );
}

#[test]
fn the_working_directory_has_settings_of_its_own() {
    let home = Home::new();
    home.put("work/.convox2/app", "second");
    assert_eq!(
        home.settings()
            .working_directory("app")
            .expect("readable")
            .as_deref(),
        Some("second")
    );
    home.put("work/.convox/app", "first\n");
    assert_eq!(
        home.settings()
            .working_directory("app")
            .expect("readable")
            .as_deref(),
        Some("first")
    );
    assert_eq!(
        home.settings().working_directory("rack").expect("readable"),
        None
    );
}

#[test]
fn login_makes_its_host_current() {
    let home = Home::new();
    home.put("xdg/convox/rack", "staging");
    let settings = home.settings();
    settings
        .set_host("console.example.com", Some("me"), false)
        .expect("writable");
    assert_eq!(settings.hosts().expect("readable"), ["console.example.com"]);
    assert_eq!(home.get("xdg/convox/rack"), None);
    assert_eq!(home.get("xdg/convox2/id").as_deref(), Some("me"));
}

#[test]
fn the_host_of_a_url_has_its_port() {
    for url in [
        STAGING_URL,
        "http://127.0.0.1:5443",
        "https://u:p@127.0.0.1:5443/a@b?c",
    ] {
        assert_eq!(host_of(url), HOST, "{url}");
    }
}
