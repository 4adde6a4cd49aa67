//! Files of processes: `cp` and the syncing of `start` (`rack-api.md` §3.4 and §7.16).

use std::io::Read as _;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::engines::{Engine, on_both_engines};
use super::flow::text;
use super::world::{Answer, Client, World, until};

on_both_engines!(
    a_file_and_a_directory_go_in_and_come_out,
    links_lead_to_what_they_name,
    what_is_asked_wrongly_is_refused_and_changes_nothing,
    the_three_flags_of_tar_are_honoured,
    files_are_removed,
    large_uploads_come_in_chunks,
    an_upload_that_breaks_off_leaves_nothing,
);

/// A file of a tar, as the official clients write it: with its absolute name.
struct Entry<'a> {
    name: &'a str,
    kind: tar::EntryType,
    mode: u32,
    owner: u64,
    content: &'a [u8],
}

fn file<'a>(name: &'a str, content: &'a [u8]) -> Entry<'a> {
    Entry {
        name,
        kind: tar::EntryType::Regular,
        mode: 0o100_644,
        owner: 0,
        content,
    }
}

fn directory(name: &str) -> Entry<'_> {
    Entry {
        kind: tar::EntryType::Directory,
        mode: 0o755,
        ..file(name, b"")
    }
}

fn tar_of(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("gnu").name[..entry.name.len()]
            .copy_from_slice(entry.name.as_bytes());
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner);
        header.set_gid(entry.owner);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        builder.append(&header, entry.content).expect("memory");
    }
    builder.into_inner().expect("memory")
}

/// Names, modes and contents of a tar.
#[track_caller]
fn entries(answer: &Answer) -> Vec<(String, u32, Vec<u8>)> {
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert_eq!(answer.header("content-encoding"), None);
    let mut archive = tar::Archive::new(answer.body.as_slice());
    let mut found = Vec::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        let name = String::from_utf8(entry.path_bytes().into_owned()).expect("text");
        let mode = entry.header().mode().expect("a mode") & 0o7777;
        found.push((name, mode, content));
    }
    found
}

fn names(answer: &Answer) -> Vec<String> {
    entries(answer).into_iter().map(|(name, ..)| name).collect()
}

struct Files {
    rack: Client,
    target: String,
}

impl Files {
    /// The files of a running process of the usual app.
    async fn deployed(engine: &Engine) -> (World, Self) {
        let (world, rack) = engine.with_rack().await;
        rack.deploy("myapp").await;
        let id = text(&rack.get("/apps/myapp/processes").await.json()[0], "id");
        let target = format!("/apps/myapp/processes/{id}/files");
        (world, Self { rack, target })
    }

    async fn put(&self, entries: &[Entry<'_>]) -> Answer {
        self.rack
            .upload(&format!("{}?", self.target), &tar_of(entries))
            .await
    }

    async fn put_with(&self, flags: &str, entries: &[Entry<'_>]) -> Answer {
        let target = format!("{}?tar-extra={flags}", self.target);
        self.rack.upload(&target, &tar_of(entries)).await
    }

    async fn get(&self, path: &str) -> Answer {
        let path: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
        self.rack.get(&format!("{}?file={path}", self.target)).await
    }

    async fn delete(&self, paths: &str) -> Answer {
        let paths: String = form_urlencoded::byte_serialize(paths.as_bytes()).collect();
        self.rack
            .delete(&format!("{}?files={paths}", self.target))
            .await
    }
}

async fn a_file_and_a_directory_go_in_and_come_out(engine: Engine) {
    let (_world, files) = Files::deployed(&engine).await;
    let long = format!(
        "/data/{}/deep.txt",
        "directory/".repeat(8).trim_end_matches('/')
    );
    files
        .put(&[
            directory("/data/dst"),
            file("/data/dst/one.txt", b"one\n"),
            // Its directory is not brought along.
            file("/data/dst/sub/two.txt", b"\xff\0two"),
            file(&long, b"deep"),
        ])
        .await
        .ok();
    let fetched = files.get("/data/dst").await;
    let mut fetched = entries(&fetched);
    fetched.sort();
    assert_eq!(
        fetched,
        [
            ("data/dst/".to_owned(), 0o755, Vec::new()),
            ("data/dst/one.txt".to_owned(), 0o644, b"one\n".to_vec()),
            ("data/dst/sub/".to_owned(), 0o755, Vec::new()),
            (
                "data/dst/sub/two.txt".to_owned(),
                0o644,
                b"\xff\0two".to_vec()
            ),
        ]
    );
    // A single file has exactly its own name, however the path was written.
    for path in ["/data/dst/one.txt", "data/dst/one.txt"] {
        assert_eq!(names(&files.get(path).await), ["data/dst/one.txt"]);
    }
    assert_eq!(names(&files.get(&long).await), [&long[1..]]);
    assert_eq!(
        names(&files.get("/data/dst/sub/").await),
        ["data/dst/sub/", "data/dst/sub/two.txt"]
    );
    // A service's name stands for one of its processes.
    let by_service = files
        .rack
        .get("/apps/myapp/processes/web/files?file=/data/dst/one.txt")
        .await;
    assert_eq!(names(&by_service), ["data/dst/one.txt"]);
    // Later ones replace earlier ones, in place.
    files.put(&[file("/data/dst/one.txt", b"1")]).await.ok();
    assert_eq!(entries(&files.get("/data/dst/one.txt").await)[0].2, b"1");
}

async fn links_lead_to_what_they_name(engine: Engine) {
    let (_world, files) = Files::deployed(&engine).await;
    let mut builder = tar::Builder::new(Vec::new());
    for (name, target) in [("data/current", "releases/1"), ("data/latest", "current")] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        builder
            .append_link(&mut header, name, target)
            .expect("memory");
    }
    let links = builder.into_inner().expect("memory");
    files.put(&[file("/data/releases/1/run", b"x")]).await.ok();
    files.rack.upload(&files.target, &links).await.ok();
    assert_eq!(
        names(&files.get("/data/latest").await),
        ["data/latest/", "data/latest/run"]
    );
    assert_eq!(
        names(&files.get("/data/current/run").await),
        ["data/current/run"]
    );
    // A directory goes into what a link leads to, and the link stays.
    files
        .put(&[directory("/data/current"), file("/data/current/more", b"y")])
        .await
        .ok();
    assert_eq!(
        entries(&files.get("/data/releases/1/more").await)[0].2,
        b"y"
    );
}

async fn what_is_asked_wrongly_is_refused_and_changes_nothing(engine: Engine) {
    let (_world, files) = Files::deployed(&engine).await;
    files.put(&[file("/data/dst/kept", b"kept")]).await.ok();
    files
        .get("/nothing/here")
        .await
        .fails(404, "no such file: /nothing/here");
    files
        .get("/data/dst/kept/below")
        .await
        .fails(404, "no such file: /data/dst/kept/below");
    files
        .rack
        .get(&files.target)
        .await
        .fails(400, "file is required");
    files
        .rack
        .delete(&files.target)
        .await
        .fails(400, "files is required");
    for method in ["GET", "POST", "DELETE"] {
        let target = "/apps/myapp/processes/ffffffffffff/files?file=/a&files=/a";
        let answer = files.rack.send(method, target, &[], &tar_of(&[])).await;
        answer.fails(404, "process not found: ffffffffffff");
        let target = "/apps/nope/processes/web/files?file=/a&files=/a";
        let answer = files.rack.send(method, target, &[], &tar_of(&[])).await;
        answer.fails(404, "app not found: nope");
    }
    // What `cp file pid:/data/` sends.
    files
        .put(&[file("/data/new", b"new"), file("/data/dst", b"lost name")])
        .await
        .fails(400, "cannot overwrite directory /data/dst with a file");
    files
        .put(&[file("/data/new", b"new"), file("/data/dst/kept/x", b"")])
        .await
        .fails(400, "cannot overwrite file /data/dst/kept with a directory");
    files
        .put(&[
            file("/data/new", b"new"),
            file("/data/../../etc/passwd", b""),
        ])
        .await
        .fails(400, "illegal file path in archive: /data/../../etc/passwd");
    let pipe = Entry {
        kind: tar::EntryType::Fifo,
        ..file("/data/pipe", b"")
    };
    let link = Entry {
        kind: tar::EntryType::Symlink,
        ..file("/data/link", b"")
    };
    files
        .put(&[file("/data/new", b"new"), link, file("/data/link/x", b"")])
        .await
        .fails(
            400,
            "/data/link is a file in the upload and a directory of others",
        );
    files.put(&[file("/data/new", b"new"), pipe]).await.fails(
        400,
        "/data/pipe is a device or a pipe, which cannot be uploaded",
    );
    let whole = tar_of(&[file("/data/new", &[7; 3000])]);
    for broken in [&whole[..2000], &[9; 2000], b""] {
        let answer = files.rack.upload(&files.target, broken).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    for flags in ["--to-command=sh", "-P", "--strip-components=-1"] {
        files
            .put_with(flags, &[file("/data/new", b"")])
            .await
            .fails(400, &format!("unsupported tar flag: {flags}"));
    }
    files
        .get("/data/new")
        .await
        .fails(404, "no such file: /data/new");
    assert_eq!(
        names(&files.get("/data/dst").await),
        ["data/dst/", "data/dst/kept"]
    );
}

async fn the_three_flags_of_tar_are_honoured(engine: Engine) {
    let (_world, files) = Files::deployed(&engine).await;
    let loose = |name| Entry {
        mode: 0o100_777,
        owner: 1234,
        ..file(name, b"x")
    };
    files
        .put_with(
            "--strip-components=2",
            &[loose("/a/b/data/x"), loose("/a/b")],
        )
        .await
        .ok();
    assert_eq!(
        entries(&files.get("/data/x").await),
        [("data/x".to_owned(), 0o777, b"x".to_vec())]
    );
    files
        .put_with("--no-same-permissions,--no-same-owner", &[loose("/data/y")])
        .await
        .ok();
    assert_eq!(entries(&files.get("/data/y").await)[0].1, 0o755);
}

async fn files_are_removed(engine: Engine) {
    let (_world, files) = Files::deployed(&engine).await;
    files
        .put(&[
            file("/data/one", b"1"),
            file("/data/two", b"2"),
            file("/data/-f", b"3"),
        ])
        .await
        .ok();
    // One that is gone already is what was asked for.
    files.delete("/data/one,/data/none,/data/-f").await.ok();
    assert_eq!(names(&files.get("/data").await), ["data/", "data/two"]);
    // Of the image, too; and it can come back.
    files.delete("/app/Dockerfile").await.ok();
    assert_eq!(files.get("/app/Dockerfile").await.status, 404);
    files.put(&[file("/app/Dockerfile", b"back")]).await.ok();
    assert_eq!(entries(&files.get("/app/Dockerfile").await)[0].2, b"back");
    let refused = files.delete("/data").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("directory"), "{}", refused.text());
    assert_eq!(names(&files.get("/data/two").await), ["data/two"]);
}

async fn large_uploads_come_in_chunks(engine: Engine) {
    let (_world, files) = Files::deployed(&engine).await;
    let content: Vec<u8> = (0..9_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let tar = tar_of(&[file("/data/large", &content)]);
    let chunks: Vec<&[u8]> = tar.chunks(100_000).collect();
    let target = format!("{}?", files.target);
    files.rack.send_chunked("POST", &target, &chunks).await.ok();
    assert!(entries(&files.get("/data/large").await)[0].2 == content);
}

async fn an_upload_that_breaks_off_leaves_nothing(engine: Engine) {
    let (world, files) = Files::deployed(&engine).await;
    let large = vec![7; 100_000];
    let tar = tar_of(&[file("/data/first", b"1"), file("/data/second", &large)]);
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n",
        files.target,
        world.address,
        files.rack.headers[0].1,
        tar.len()
    );
    let mut stream = TcpStream::connect(world.address).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream
        .write_all(&tar[..tar.len() / 2])
        .await
        .expect("written");
    drop(stream);
    // The server has no answer to give; what follows waits behind nothing either.
    files.put(&[file("/data/third", b"3")]).await.ok();
    until("the upload to be given up", async || {
        names(&files.get("/data").await) == ["data/", "data/third"]
    })
    .await;
}
