"""A Hugging Face Hub on this machine, which remembers what it was asked for, and programs that ask it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_ASK = """
import sys, time
from stable_diffusion.weights import locate
from stable_diffusion.weights.checkpoint import CheckpointError
model, half, locate._PATIENCE = sys.argv[1], sys.argv[2] == "half", float(sys.argv[3])
start = time.monotonic()
try:
    extra = sys.argv[4] == "extra"
    place = locate.locate_extra(model, "a LoRA") if extra else locate.locate(model, half, sys.argv[4] == "weights")
    print("folder", place)
except CheckpointError as error:
    print("error", error)
print("seconds", time.monotonic() - start)
"""


@dataclass
class Repo:
    """A repo's files, or how the Hub refuses it: at once, or when its files are asked for."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    refusal: int | None = None
    code: str = ""  # the Hub's own word for a refusal
    refuses_files_only: bool = False


@dataclass
class FakeHub:
    """repos by name. `given` are the paths that were downloaded. A silent Hub takes a call and does not answer."""

    repos: dict[str, Repo] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    silent: bool = False
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).removeprefix("/")
            api = path.startswith("api/models/")
            if hub.silent and api:
                time.sleep(3)
                return
            owner, name, *rest = [*path.removeprefix("api/models/").split("/"), ""]
            repo = hub.repos.get(f"{owner}/{name}", Repo(refusal=404, code="RepoNotFound"))
            if repo.refusal and not (api and repo.refuses_files_only):
                self.answer(repo.refusal, X_Error_Code=repo.code, X_Error_Message="refused")
            elif api and rest[:1] == ["tree"]:
                listing = [
                    {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for path, data in repo.files.items()
                ]
                self.answer(200, json.dumps(listing).encode(), Content_Type="application/json")
            elif api:
                siblings = [{"rfilename": path} for path in repo.files]
                info = {"id": f"{owner}/{name}", "sha": _COMMIT, "siblings": siblings, "tags": []}
                self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
            elif rest[:1] == ["resolve"] and (file := "/".join(rest[2:-1])) in repo.files:
                data = repo.files[file]
                if self.command == "GET":
                    hub.given.append(file)
                self.answer(200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=_COMMIT)
            else:
                self.answer(404, X_Error_Code="EntryNotFound")

        do_HEAD = do_GET

    return Handler


@contextmanager
def fake_hub(**repos: Repo) -> Iterator[FakeHub]:
    """A Hub with these repos, "owner/name" to Repo, until the block ends; then nobody listens at its address."""
    hub = FakeHub(dict(repos))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Answer:
    """What `locate` gave: a folder or an error, after how many seconds, and what else was said on the way."""

    folder: Path | None
    error: str
    seconds: float
    said: str


def ask(
    hub: FakeHub,
    home: Path,
    model: str,
    half: bool = True,
    patience: float = 10,
    offline: bool = False,
    weights: bool = True,
    extra: bool = False,
) -> Answer:
    """`locate` (extra: `locate_extra`) in a process of its own: huggingface_hub reads its environment on import."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))},
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        **({"HF_HUB_OFFLINE": "1"} if offline else {}),
    }
    words = [model, "half" if half else "full", str(patience), "extra" if extra else "weights" if weights else "plan"]
    program = [sys.executable, "-c", _ASK, *words]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    kind, _, text = done.stdout.strip().partition(" ")
    text, _, seconds = text.rpartition("\nseconds ")
    folder = Path(text) if kind == "folder" else None
    return Answer(folder, text if kind == "error" else "", float(seconds), done.stderr)
