#!/usr/bin/env python3
"""Runs the listings of README.md and docs/tutorial.md as they stand, in a clone of
the last commit, and looks for what they say is printed.

Each host of a listing has an address of its own on the loopback, and its own
processes and files; nothing outside is touched or reached. Needs Linux, unshare,
nsenter, pidof, nc, git and Go; run as root, or as a user who may make namespaces.

    listings.py [--keep] [FILE...]
"""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 60  # seconds that a command has to succeed, and to print what is expected
HOSTS = ["mgr1", "mgr2", "mgr3", "svr1", "svr2", "svr3", "svr4", "cli1"]
FILES = ["README.md", "docs/tutorial.md"]
NEW_CLUSTER = "On several hosts"  # the section before which everything is stopped

# What is not run, and why.
SKIP = {"go test ./...": "takes minutes; every change is tested so"}
# What the text around a listing has done before: on which host, and what.
BEFORE = {
    "kumoctl mgr1 attach svr4 --wait": ("svr4", "kumo-server -l svr4 -m mgr1 -p mgr2 -s /var/kumodb"),
    "kumoctl mgr1 manager replace mgr2 mgr3": ("mgr3", "kumo-manager -l mgr3 -p mgr1 --join"),
    "kumo-server -v -l svr4 -m mgr1 -p mgr2 -s /var/kumodb": ("svr2", "kumo-server -v -l svr2 -m mgr1 -p mgr2 -s /var/kumodb"),
}


def namespaces():
    """Starts this script again in a network and with mounts of its own."""
    if os.environ.get("LISTINGS_INSIDE"):
        return
    os.environ["LISTINGS_INSIDE"] = "1"
    user = [] if os.geteuid() == 0 else ["-r"]
    os.execvp("unshare", ["unshare", "--net", "--mount", *user, sys.executable, *sys.argv])


def commands(path):
    """Yields section, host ("" for none), command and expected lines."""
    section, block, last = "", None, None
    for line in open(path):
        line = line.rstrip("\n")
        if line.startswith("## "):
            section = line[3:]
        if line.startswith("```"):
            if last:
                yield last
            block, last = (None if block else line[3:] or "text"), None
            continue
        if block == "sh" and line.strip():
            yield section, "", strip(line), []
        elif block == "console":
            m = re.match(r"^(?:\[(?:on )?\s*(\w*)\s*\])?\$ (.*)", line)
            if m:
                if last:
                    yield last
                host = m[1] if m[1] in HOSTS else ""
                last = (section, host, strip(m[2]), [])
            elif last:
                last[3].append(line)


def strip(command):
    return re.sub(r"\s+#\s.*$", "", command).strip()


def shape(line):
    """A line's words, with what differs from run to run left out."""
    return [re.sub(r"^[KMG]iB$", "B", "N" if re.search(r"\d", w) else w) for w in line.split()]


class Runner:
    def __init__(self, keep):
        self.dir = tempfile.mkdtemp(prefix="kumofs-listings-")
        self.keep, self.hosts, self.daemons, self.failed = keep, {}, [], 0
        self.repo = os.path.join(self.dir, "kumofs")

    def prepare(self):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        with open("/etc/hosts") as f:
            old = f.read()
        path = os.path.join(self.dir, "hosts")
        with open(path, "w") as f:
            f.write(old + "".join(f"\n127.1.0.{i + 1} {h}" for i, h in enumerate(HOSTS)) + "\n")
        subprocess.run(["mount", "--bind", path, "/etc/hosts"], check=True)
        here = os.path.dirname(os.path.abspath(__file__))
        root = subprocess.run(["git", "-C", here, "rev-parse", "--show-toplevel"], check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run(["git", "clone", "-q", root, self.repo], check=True)
        os.environ["GOFLAGS"] = os.environ.get("GOFLAGS", "") + " -trimpath"  # what was built in another folder is good here, too
        began = time.time()
        subprocess.run(["go", "build", "-o", "bin/", "./kumoctl", "./kumomanager/cmd/kumo-manager", "./kumoserver/cmd/kumo-server",
                        "./kumogateway/cmd/kumo-gateway"], cwd=self.repo, check=True)
        print(f"built in {time.time() - began:.0f} s")
        os.environ["PATH"] = os.path.join(self.repo, "bin") + ":" + os.environ["PATH"]

    def inside(self, host, command):
        """The words that run a command on a host."""
        if not host:
            return ["sh", "-c", command], self.repo
        home = os.path.join(self.dir, host)
        if host not in self.hosts:
            os.makedirs(home)
            p = subprocess.Popen(["unshare", "-mpf", "--kill-child", "--mount-proc", "sh", "-c", "mount -t tmpfs tmpfs /var && echo && exec sleep infinity"],
                                 stdout=subprocess.PIPE, start_new_session=True)
            p.stdout.readline()
            init = open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()[0]
            self.hosts[host] = (p, init)
        return ["nsenter", "-t", self.hosts[host][1], "-m", "-p", f"--wd={home}", "sh", "-c", command], home

    def daemon(self, host, command):
        words, cwd = self.inside(host, "exec " + command)
        log = open(os.path.join(self.dir, f"{len(self.daemons)}.log"), "w")
        self.daemons.append((subprocess.Popen(words, cwd=cwd, stdout=log, stderr=log, start_new_session=True), command, log.name))

    def stop(self):
        for p, _, _ in self.daemons:
            if p.poll() is None:
                os.killpg(p.pid, signal.SIGTERM)
        for p, _, _ in self.daemons:
            try:
                p.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
        for p, _ in self.hosts.values():
            p.kill()
            p.wait()
        for host in self.hosts:
            shutil.rmtree(os.path.join(self.dir, host), ignore_errors=True)
        self.daemons, self.hosts = [], {}

    def once(self, host, command):
        words, cwd = self.inside(host, command)
        try:
            p = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return None, "it does not end"
        return p.returncode, p.stdout + ("" if p.returncode == 0 else p.stderr)

    def until(self, host, command, want):
        """Runs a command until it succeeds and prints lines of these shapes."""
        end = time.time() + PATIENCE
        while True:
            code, out = self.once(host, command)
            have = [shape(l) for l in out.splitlines()]
            missing = [l for l in want if l.strip() and shape(l) not in have]
            if code == 0 and not missing:
                return
            if time.time() > end:
                what = f"it does not print: {missing[0]}" if code == 0 else f"exit code {code}"
                raise RuntimeError(f"{what}\n{out}")
            time.sleep(0.3)

    def watch(self, command, shows, end):
        """Runs what goes on until it is told to end, on a terminal, until it shows something."""
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(self.repo)
            os.environ["TERM"] = "xterm"
            os.execvp("sh", ["sh", "-c", "exec " + command])
        screen, until = b"", time.time() + PATIENCE
        try:
            while shows not in screen:
                if not select.select([fd], [], [], max(0, until - time.time()))[0]:
                    raise RuntimeError(f"it does not show {shows.decode()}: {screen!r}")
                screen += os.read(fd, 4096)
            os.write(fd, end)
            while os.read(fd, 4096):
                pass
        except OSError:
            pass  # the terminal is gone
        except RuntimeError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(fd)
            raise
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(fd)
        if shows not in screen or code != 0:
            raise RuntimeError(f"exit code {code}: {screen!r}")

    def run(self, host, command, want):
        if command in BEFORE:
            self.daemon(*BEFORE[command])
        if re.match(r"kumo-(manager|server|gateway) ", command):
            self.daemon(host, command)
        elif command.startswith("go run ./kumoctl up"):
            self.daemon("", command)
            self.until("", "go run ./kumoctl check", [])
        elif " top" in command:
            self.watch(command, b"QPS", b"q")
        elif command.endswith(" events -f") or " watch " in command:
            self.watch(command, b"watching" if " watch " in command else b"leader", b"\x03")
        else:
            if command.endswith(" attach"):  # people are slower than servers
                self.until("", command[:-len("attach")] + "status | grep -c '^server .* new ' | grep -x '[3-9]'", [])
            self.until(host, command, want)

    def file(self, path):
        section = ""
        for title, host, command, want in commands(os.path.join(self.repo, path)):
            if title != section and title == NEW_CLUSTER:
                self.stop()
            section = title
            at = f"{path}, {title or 'beginning'}: {host and '[on ' + host + ']'}$ {command}"
            if command in SKIP:
                print(f"skip  {at} ({SKIP[command]})")
                continue
            began = time.time()
            try:
                self.run(host, command, want)
                print(f"{time.time() - began:4.1f}s {at}", flush=True)
            except RuntimeError as e:
                self.failed += 1
                print(f"FAIL  {at}\n{e}", flush=True)
        self.stop()

    def close(self):
        self.stop()
        subprocess.run(["umount", "/etc/hosts"], check=False)
        if self.keep:
            print("kept", self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


def main():
    namespaces()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    keep = "--keep" in sys.argv
    files = [a for a in sys.argv[1:] if not a.startswith("-")] or FILES
    r = Runner(keep)
    began = time.time()
    try:
        r.prepare()
        for f in files:
            r.file(f)
    finally:
        r.close()
    print(f"{r.failed} listings failed; {time.time() - began:.0f} s in all")
    sys.exit(1 if r.failed else 0)


main()
