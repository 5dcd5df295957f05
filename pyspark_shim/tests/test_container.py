"""The container's files agree with each other and with the project; the image itself is built by hand."""

import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


def pins(path: Path) -> dict[str, str]:
    lines = (line.split("==") for line in path.read_text().splitlines() if "==" in line and line[0] != "#")
    return {re.sub(r"[-_.]+", "-", name).lower(): version.strip() for name, version in lines}


def composed(text: str) -> dict[str, Any]:
    """The compose file with each variable's default, or REQUIRED where it has none."""

    def value(match: re.Match[str]) -> str:
        return match[2] if match[2] is not None else "REQUIRED"

    loaded = yaml.safe_load(re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)\}", value, text))
    assert isinstance(loaded, dict)
    return loaded


COMPOSE = composed((DOCKER / "compose.yaml").read_text())


def test_the_image_has_the_versions_that_the_project_is_tested_with():
    project, image = pins(ROOT / "constraints.txt"), pins(DOCKER / "constraints.txt")
    differing = {
        name: (image[name], project[name]) for name in image.keys() & project if image[name] != project[name]
    }
    assert not differing, "docker/constraints.txt, constraints.txt"
    assert {"torch", "pyspark", "pyarrow", "pandas", "tqdm", "jupyterlab"} <= image.keys()


def test_what_the_dockerfile_copies_is_in_its_context():
    copied = re.findall(
        r"^COPY (?!--from)(?:--chown=\S+ )?(.+) \S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE
    )
    sources = [source for line in copied for source in line.split()]
    assert "pyspark_shim" in sources
    assert [source for source in sources if not list(ROOT.glob(source))] == []
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [source for source in sources if source not in let_in and source.split("/")[0] not in let_in] == []


@pytest.mark.parametrize("stage", ["mlflow", "run"])
def test_an_image_s_processes_are_not_root_s(stage: str):
    stages = re.split(r"^FROM .+ AS ", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    (text,) = (text for text in stages if text.startswith(f"{stage}\n"))
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["1000:1000"]
    assert text.index("USER") < text.index("ENTRYPOINT")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_is_checked_bounded_and_published_on_loopback_alone(name: str):
    service = COMPOSE["services"][name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "mem_limit" in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert "healthcheck" in service or service["restart"] == "no"
    secrets = [key for key in service.get("environment", {}) if re.search("SECRET|TOKEN|PASSWORD", key)]
    assert all(service["environment"][key] == "REQUIRED" for key in secrets)


def test_a_worker_without_a_master_says_what_to_set():
    done = subprocess.run(
        ["sh", str(DOCKER / "entrypoint.sh"), "worker"], env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 64
    assert "MASTER=spark://" in done.stderr


@pytest.mark.parametrize(("status", "code"), [("ALIVE", 0), ("STANDBY", 1)])
def test_a_master_is_healthy_when_it_is_alive(status: str, code: int):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"status": status}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        server.timeout = 20
        thread = Thread(target=server.handle_request)
        thread.start()
        script = (DOCKER / "healthy.py").read_text().replace("8080", str(server.server_port))
        done = subprocess.run([sys.executable, "-c", script, "master"], check=False)
        thread.join()
    assert done.returncode == code


def test_what_does_not_answer_is_not_healthy():
    done = subprocess.run(
        [sys.executable, "-c", (DOCKER / "healthy.py").read_text().replace("8080", "9"), "master"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "refused" in done.stderr
