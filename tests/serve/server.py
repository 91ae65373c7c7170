"""A running `dure serve` and the simplest clients of it. Standard library only."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import program  # noqa: E402


class Server:
    def __init__(self, device, model, *arguments, key=None):
        line = program.command(device, "serve", model, "--port", 0, *arguments)
        self.process = subprocess.Popen(line, env=program.device_environment(device), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        first = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+) ", first)
        if not found:
            program.fail(f"the server did not start: {first}{self.process.stderr.read()}")
        self.port = int(found.group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def stop(self):
        """Asks it to end, and waits; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def resident(self):
        """Memory of the process, MiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) / 1024

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def socket(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, bytes)"""
        connection = self.connect()
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post(self, path, body, expect=200):
        """The answer's object; `body` is an object, or bytes as they are."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, content = self.request("POST", path, text, {"Content-Type": "application/json"})
        program.check(status == expect, f"{path} {text[:200]}: status {status}, expected {expect}: {content[:300]}")
        return json.loads(content)

    def events(self, path, body):
        """The objects of a stream, which must end with [DONE]."""
        status, headers, content = self.request("POST", path, json.dumps({**body, "stream": True}),
                                                {"Content-Type": "application/json"})
        program.check(status == 200, f"{path}: status {status}: {content[:300]}")
        program.check(headers["Content-Type"].startswith("text/event-stream"), headers["Content-Type"])
        lines = content.decode("utf-8").split("\n\n")
        program.check(lines[-2:] == ["data: [DONE]", ""], f"the stream ends with {lines[-2:]}")
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]

    def metric(self, name):
        _, _, content = self.request("GET", "/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", content.decode(), re.MULTILINE)
        return float(found.group(1)) if found else 0.0
