#!/usr/bin/env python3
"""Makes the archives in this directory, with everything but the code they test: a container
engine, podman, skopeo, GNU tar and Python's tarfile and gzip.

    make.py DIRECTORY

The committed ones came from Docker 20.10.24, podman 4.3.1, skopeo 1.9.3, GNU tar 1.34 and Python
3.11; what newer engines save is put together here, as the OCI image layout and
`docker save` of version 25 describe it. Run it again only for a new case: images have new ids each
time. Then `TWINRACK_GOLDEN=write cargo nextest run -E 'test(golden)'` writes what is expected of them,
to be read before it is committed.
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

APP = "myapp"
BUILD = "BABCDEFGHIJ"
SERVICES = ["web", "worker"]
LOCAL = f"twinrack-golden/{APP}"
ECR = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/staging-{APP}-registry"
PORT = f"localhost:5000/{APP}"
MANIFEST = """environment:
  - SECRET_KEY
  - GREETING=hello
services:
  web:
    build: .
    port: 3000
  worker:
    build: .
"""
DOCKERFILE = """FROM scratch AS base
COPY base /base
FROM base AS web
COPY web /web
ENTRYPOINT ["/bin/web"]
LABEL twinrack.test=golden
FROM base AS worker
COPY worker /worker
CMD ["work"]
LABEL twinrack.test=golden
"""


def run(*words, **more):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, **more).stdout


def sha(data):
    return hashlib.sha256(data).hexdigest()


def build_json(**more):
    """`build.json` as v2 racks of 2026 write it, then what else a generation has."""
    record = {
        "id": BUILD,
        "app": APP,
        "description": "build 0123456789 <first> & last",
        "entrypoint": "",
        "git-sha": "0123456789abcdef0123456789abcdef01234567",
        "logs": f"object://{APP}/build/{BUILD}/logs",
        "manifest": MANIFEST,
        "process": "0123456789ab",
        "release": "RABCDEFGHIJ",
        "reason": "",
        "status": "complete",
        "started": "2026-01-02T03:04:05.000000006Z",
        "ended": "2026-01-02T03:05:06Z",
    }
    record.update(more)
    for name in [name for name, value in record.items() if value is None]:
        del record[name]
    text = json.dumps(record, indent=2)
    for sign in "<>&":
        text = text.replace(sign, "\\u%04x" % ord(sign))
    return text.encode()


def python_tar(files, form=tarfile.USTAR_FORMAT, **attributes):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o600
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def gnu_tar(files, form):
    with tempfile.TemporaryDirectory() as directory:
        for name, data in files:
            with open(os.path.join(directory, name), "wb") as file:
                file.write(data)
        names = [f"./{name}" for name, _ in files]
        return run("tar", "-C", directory, f"--format={form}", "--owner=user", "-cf", "-", *names)


def nameless_directory():
    """What v3 racks write first: the directory they walked, without a name."""
    info = tarfile.TarInfo("")
    info.mode = 0o700
    info.mtime = 1767323046
    info.uid = info.gid = 0
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[156:157] = tarfile.DIRTYPE
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def squeeze(data):
    return gzip.compress(data, 9, mtime=0)


def unpack(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {it.name: tar.extractfile(it).read() for it in tar if it.isfile()}


def images(save):
    """Configuration and layers of each service in a classic `docker save`."""
    with tarfile.open(fileobj=io.BytesIO(save)) as tar:
        def read(path):
            return tar.extractfile(path).read()
        found = {}
        for image in json.loads(read("manifest.json")):
            for tag in image["RepoTags"]:
                service = tag.rsplit(":", 1)[1].split(".")[0]
                found[service] = (read(image["Config"]), [read(it) for it in image["Layers"]])
        return found


def modern(found, compressed):
    """`docker save` of version 25 and later; compressed, as the containerd store has layers."""
    blobs, manifests, listed = {}, [], []

    def blob(data, kind):
        blobs[sha(data)] = data
        return {"mediaType": kind, "digest": "sha256:" + sha(data), "size": len(data)}

    for service in SERVICES:
        config, layers = found[service]
        kind = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compressed else "")
        stored = [squeeze(it) if compressed else it for it in layers]
        manifest = json.dumps({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [blob(it, kind) for it in stored],
        }).encode()
        image = blob(manifest, "application/vnd.oci.image.manifest.v1+json")
        if compressed:
            # BuildKit puts a statement about the build beside the image.
            statement = blob(b'{"schemaVersion":2,"layers":[]}', image["mediaType"])
            statement["platform"] = {"architecture": "unknown", "os": "unknown"}
            image["platform"] = {"architecture": "amd64", "os": "linux"}
            both = {"schemaVersion": 2, "manifests": [image, statement]}
            image = blob(json.dumps(both).encode(), "application/vnd.oci.image.index.v1+json")
        tag = f"{ECR}:{service}.{BUILD}"
        image["annotations"] = {
            "io.containerd.image.name": tag,
            "org.opencontainers.image.ref.name": f"{service}.{BUILD}",
        }
        manifests.append(image)
        listed.append({
            "Config": "blobs/sha256/" + sha(config),
            "RepoTags": [tag],
            "Layers": ["blobs/sha256/" + sha(it) for it in stored],
        })
    files = [(f"blobs/sha256/{name}", data) for name, data in sorted(blobs.items())]
    files += [
        ("index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()),
        ("manifest.json", json.dumps(listed).encode()),
        ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        ("repositories", b"{}"),
    ]
    return python_tar(files, mtime=1767323046)


def main(target):
    out = {}
    with tempfile.TemporaryDirectory() as work:
        for name in ["base", *SERVICES]:
            with open(os.path.join(work, name), "w", encoding="utf-8") as file:
                file.write(name + "\n")
        with open(os.path.join(work, "Dockerfile"), "w", encoding="utf-8") as file:
            file.write(DOCKERFILE)
        tags = []
        classic = dict(os.environ, DOCKER_BUILDKIT="0")
        try:
            for service in SERVICES:
                for repository in [LOCAL, ECR, PORT]:
                    tags.append(f"{repository}:{service}.{BUILD}")
                names = [word for tag in tags[-3:] for word in ("-t", tag)]
                run("docker", "build", "-q", "--target", service, *names, work,
                    env=classic, stderr=subprocess.DEVNULL)
            save = {
                repository: run("docker", "save", *[f"{repository}:{it}.{BUILD}" for it in SERVICES])
                for repository in [LOCAL, ECR, PORT]
            }
            single = {it: run("docker", "save", f"{ECR}:{it}.{BUILD}") for it in SERVICES}
        finally:
            subprocess.run(["docker", "rmi", "-f", *tags], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        saved = os.path.join(work, "save.tar")
        with open(saved, "wb") as file:
            file.write(save[LOCAL])

        podman = ["podman", "--root", os.path.join(work, "p"), "--runroot",
                  os.path.join(work, "r"), "--storage-driver", "vfs"]
        run(*podman, "load", "-i", saved, stderr=subprocess.DEVNULL)
        both = os.path.join(work, "podman.tar")
        run(*podman, "save", "-m", "-o", both, *[f"{LOCAL}:{it}.{BUILD}" for it in SERVICES],
            stderr=subprocess.DEVNULL)
        podman_save = open(both, "rb").read()
        layouts = {"podman": {}, "skopeo": {}}
        copies = {}
        for service in SERVICES:
            tag = f"{LOCAL}:{service}.{BUILD}"
            path = os.path.join(work, f"{service}.podman.tar")
            run(*podman, "save", "--format", "oci-archive", "-o", path, tag,
                stderr=subprocess.DEVNULL)
            layouts["podman"][service] = open(path, "rb").read()
            path = os.path.join(work, f"{service}.skopeo.tar")
            run("skopeo", "copy", f"docker-archive:{saved}:{tag}", f"oci-archive:{path}",
                stderr=subprocess.DEVNULL)
            layouts["skopeo"][service] = open(path, "rb").read()
            path = os.path.join(work, f"{service}.copy.tar")
            run("skopeo", "copy", f"docker-archive:{saved}:{tag}", f"docker-archive:{path}:{tag}",
                stderr=subprocess.DEVNULL)
            copies[service] = open(path, "rb").read()
        run(*podman, "rmi", "-af", stderr=subprocess.DEVNULL)

    def tars(of):
        return [(f"{it}.{BUILD}.tar", of[it]) for it in SERVICES]

    old = build_json(**{"entrypoint": None, "git-sha": None, "process": None,
                        "created": "0001-01-01T00:00:00Z"})
    v3 = build_json(repository="registry.example.com/app", **{"wildcard-domain": False})
    record = ("build.json", build_json())
    name = f"{APP}.{BUILD}.tar"
    combined = python_tar([record, (name, save[ECR])])
    out["a-docker20-gnu"] = squeeze(gnu_tar([("build.json", old)] + tars(single), "gnu"))
    out["a-skopeo-v7"] = squeeze(gnu_tar([("build.json", old)] + tars(copies), "v7"))
    out["b-docker20"] = squeeze(combined)
    out["b-docker20-port"] = squeeze(python_tar([record, (name, save[PORT])], tarfile.GNU_FORMAT))
    out["b-docker20-nameless"] = squeeze(python_tar([(name, save[ECR])]))
    middle = len(combined) // 2
    out["b-docker20-members"] = (
        squeeze(combined[:700]) + squeeze(b"") + squeeze(combined[700:middle])
        + squeeze(combined[middle:]) + bytes(1536)
    )
    parts = images(save[ECR])
    out["b-docker25-pax"] = squeeze(
        python_tar([record, (name, modern(parts, False))], tarfile.PAX_FORMAT, mtime=1767323046.5))
    out["b-containerd"] = squeeze(python_tar([record, (name, modern(parts, True))]))
    out["b-podman"] = squeeze(python_tar([record, (name, podman_save)]))
    out["c-skopeo"] = squeeze(
        nameless_directory() + python_tar([("build.json", v3)] + tars(layouts["skopeo"]),
                                          mtime=1767323046, uname="root", gname="root"))
    out["c-podman-pax"] = squeeze(gnu_tar([("build.json", v3)] + tars(layouts["podman"]), "pax"))
    os.makedirs(target, exist_ok=True)
    for name, data in out.items():
        with open(os.path.join(target, f"{name}.tgz"), "wb") as file:
            file.write(data)
        print(f"{len(data):6} {name}.tgz")


if __name__ == "__main__":
    main(sys.argv[1])
