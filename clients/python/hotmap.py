"""Drives hotmap on QEMU from Python 3.9 or newer, with the standard library only.

    import hotmap

    with hotmap.boot(["--memory", "2G"]) as guest:
        guest.plug("d0", "1G")                  # waits until the guest has taken it
        print(guest.tell("tenant new 1000"))    # a command that must succeed
        assert guest.state()["dimms"][0]["state"] == "online"
        guest.unplug("d0")                      # hotmap.Refused if the guest keeps it
        guest.finish()                          # audits, powers off, and expects status 0

`boot` uses scripts/qemu, `start` any command line with the serial console on stdio, and `attach` a QEMU that runs
already. docs/guide/scripting.md says what `script=on` prints, and what QEMU's command line needs.

Every wait has a time-out of a minute, which detects a hang. HOTMAP_TIMEOUT=3 makes all of them three times as long;
`timeout`, in seconds, is for one call.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import weakref

STEP = 60 * float(os.environ.get("HOTMAP_TIMEOUT", "1"))
INSERTION, EJECTION, IN_PROGRESS = 1, 3, 0x84  # _OST: two source events, a status (ACPI 6.5, 6.3.5)
EXIT = re.compile(r"^hotmap: exit (\d+): ([^\r\n]+)\r?\n", re.M)
ERROR, WARNING = (re.compile(rf"^{word}: ([^\r\n]*)", re.M) for word in ("error", "warning"))
READY = re.compile(r"^ready (\d+)\n", re.M)

# What a command line printed, and whether one of its commands failed.
Reply = collections.namedtuple("Reply", "text failed")
# Where QEMU put a DIMM: the physical address and the size in bytes, and the slot.
Plugged = collections.namedtuple("Plugged", "address size slot")


class Error(Exception):
    """The base of all errors of this module."""

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


class Hang(Error):
    """Something did not come in time. Nothing is known."""


class Ended(Error):
    """The run has ended, or the guest was reset. `status` is the guest's, or QEMU's if the guest said none."""


class CommandFailed(Error):
    """A command of the shell failed; the message is its error line."""


class Refused(Error):
    """QEMU or the guest refuses something. `status` is the guest's _OST status, and None if QEMU refused."""


class Closed(Error):
    """A console or a control socket has ended. The methods of `Guest` raise `Ended` instead."""


def in_bytes(size):
    """Bytes: a number, or QEMU's notation ("128M", "1G"). Raises ValueError."""
    match = type(size) in (int, str) and re.fullmatch(r"(\d+)([KMGT]?)", str(size).upper())
    if not match:
        raise ValueError(f"a size is a number, or such as 128M or 1G, not {size!r}")
    return int(match[1]) << 10 * ("", "K", "M", "G", "T").index(match[2])


def new_folder():
    """A folder for sockets. It is in /tmp if TMPDIR is too long for a Unix socket's path of 108 bytes (unix(7))."""
    long = len(os.fsencode(tempfile.gettempdir())) > 80
    return tempfile.mkdtemp(prefix="hotmap-", dir="/tmp" if long else None)


def end_process(process, folder):
    """Kills a process, waits for it, closes its pipes, and deletes a folder."""
    with process:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


class Console:
    """What a serial console has printed so far. A thread reads it to its end, so that nothing is lost or blocks."""

    def __init__(self, output, input):
        """`output` and `input` are binary files; reading the first returns what there is, without waiting for more.

        The thread reads `output` until its end: to stop it, end the stream (shut a socket down).
        """
        self._output, self._input = output, input
        self._bytes, self._news, self._ended = bytearray(), threading.Condition(), False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError, ValueError):  # closed
            while data := self._output.read(65536):
                with self._news:
                    self._bytes += data
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def type(self, text):
        """Types `text` as it is: bytes, or a str in UTF-8. A QEMU that is gone shows in the next wait."""
        data = text if isinstance(text, bytes) else text.encode()
        with contextlib.suppress(OSError, ValueError):  # closed
            self._input.write(data)
            self._input.flush()

    def text(self, since=0):
        """What was printed since a position, a character for each byte."""
        return self._bytes[since:].decode("ascii", "replace")

    def wait(self, what, found, since=0, timeout=None):
        """What `found` returns, other than None, for the text since a position. Raises Hang, and Closed at the end."""
        end = time.monotonic() + (timeout or STEP)
        with self._news:
            while True:
                text = self.text(since)
                if (thing := found(text)) is not None:
                    return thing
                if self._ended or EXIT.search(text):
                    raise Closed(what)
                if not self._news.wait(end - time.monotonic()) and time.monotonic() >= end:
                    last = text.rstrip().rpartition("\n")[2]
                    raise Hang(f"waited in vain for {what}; the last line is {last!r}")


class Qmp:
    """QEMU's control socket. Events are kept until a wait takes them."""

    def __init__(self, path, gone=lambda: False, timeout=None):
        """Connects to the Unix socket that QEMU makes while it starts. `gone` says whether QEMU has ended."""
        end = time.monotonic() + (timeout or STEP)
        self.events, self._rest, self.socket = [], b"", socket.socket(socket.AF_UNIX)
        while error := self.socket.connect_ex(str(path)):
            if gone() or time.monotonic() >= end:
                raise (Closed if gone() else Hang)(f"no QMP socket at {path}: {os.strerror(error)}")
            time.sleep(0.005)
        self.version = self._message(end, f"the greeting of {path}: does another client hold it?")["QMP"]["version"]["qemu"]
        self.execute("qmp_capabilities")

    def _message(self, end, what):
        while b"\n" not in self._rest:
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except socket.timeout as error:
                raise Hang(f"QEMU: waited in vain for {what}") from error
            except OSError:
                data = b""
            if not data:
                raise Closed("QEMU closed its monitor")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def execute(self, command, **arguments):
        """Executes a command and returns what QEMU returns. Arguments whose name has a `-` are passed by `**{...}`."""
        end = time.monotonic() + STEP
        try:
            self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        except OSError as error:
            raise Closed("QEMU closed its monitor") from error
        while "event" in (answer := self._message(end, f"the answer to {command}")):
            self.events.append(answer)
        if "error" in answer:
            raise Refused(f"QEMU refuses {command}: {answer['error']['desc']}")
        return answer["return"]

    def wait_event(self, what, wanted, timeout=None):
        """Takes the first event for whose name and data `wanted` returns something other than None; returns that."""
        end, at = time.monotonic() + (timeout or STEP), 0
        while True:
            while at < len(self.events):
                event = self.events[at]
                if (thing := wanted(event["event"], event.get("data", {}))) is not None:
                    del self.events[at]
                    return thing
                at += 1
            self.events.append(self._message(end, what))


class Guest(contextlib.AbstractContextManager):
    """A booted machine: commands, and memory that comes and goes.

    The end of a `with`, of the program or of the last reference kills a QEMU that this module has started.
    """

    def __init__(self, console, qmp, process=None, booting=True, folder=None, runs=False, timeout=None):
        """Use `boot`, `start` or `attach`. `runs`: run= is on the kernel's command line."""
        self.console, self.qmp, self.process, self._runs = console, qmp, process, runs
        self._frame, self._since, self._plugged = 0, 0, set()
        self._finalizer = weakref.finalize(self, end_process, process, folder) if process else None
        if booting:
            self.await_ready(timeout)
        else:
            console.type("\n")
            frame = self._wait("the reply to a blank line", re.compile(r"^end (\d+) [01]\n", re.M).search, timeout)
            self._frame = int(frame[1])

    @staticmethod
    def _ready(text):
        if re.search(r"^hotmap> $", text, re.M):
            raise Error("the shell has a prompt: add script=on to the kernel's command line")
        ready = READY.search(text)
        if ready and ready[1] != "1":
            raise Error(f"the framing has version {ready[1]}; this client knows version 1")
        return ready

    def __exit__(self, *_):
        """Kills QEMU, if this module has started it. The console of `attach` is read until its end."""
        self.qmp.socket.close()
        if self._finalizer:
            self._finalizer()

    @contextlib.contextmanager
    def _before(self, what):
        try:
            yield
        except Closed:
            status, why = self._end()
            if why is None:
                raise Ended(f"{qemus_end(status)} before {what}", status) from None
            errors = ERROR.findall(self.console.text(self._since))
            why = "; ".join([why, *errors[-1:]])
            raise Ended(f"the guest ended before {what}: exit {status}: {why}", status) from None

    def _wait(self, what, found, timeout=None):
        """The match of `found`; the next search begins behind it."""
        with self._before(what):
            match = self.console.wait(what, found, self._since, timeout)
        self._since += match.end()
        return match

    def _end(self):
        code = self.process.wait(STEP) if self.process else None
        said = EXIT.findall(self.console.text())
        return (int(said[-1][0]), said[-1][1]) if said else (code, None)

    def await_ready(self, timeout=None):
        """Waits until a guest that boots takes lines, also after a reset: frames count from 1 again."""
        self._wait("the line 'ready 1'", self._ready, timeout)
        self._frame = 0

    def await_reply(self, what="the line", timeout=None):
        """The reply to the oldest line that was typed (`console.type`) and not waited for. Raises Hang and Ended."""
        number = self._frame + 1
        frame = re.compile(rf"^begin {number}\n(.*?)^end {number} ([01])\n", re.M | re.S)

        def reply(text):
            found, reset = frame.search(text), READY.search(text)
            if reset and not (found and found.end() <= reset.start()):
                raise Ended(f"the guest was reset before the reply to {what!r}: await_ready starts anew")
            return found

        found = self._wait(f"the reply to {what!r}", reply, timeout)
        self._frame = number
        return Reply(found[1].rstrip("\n"), found[2] == "1")

    def ask(self, line, timeout=None):
        """Types one command line and returns its reply, whether or not it failed. Raises as `await_reply`."""
        if self._runs:
            raise Error(f"run= is on the kernel's command line, so {line!r} would not be read: use await_reply")
        if re.search(r"[\r\n\3]", line):
            raise ValueError(f"{line!r} has a line end or Ctrl-C: use console.type, and await_reply for each line")
        self.console.type(line + "\n")
        return self.await_reply(line, timeout)

    def tell(self, line, timeout=None):
        """Types a command line that must succeed, and returns what it printed. Raises CommandFailed."""
        reply = self.ask(line, timeout)
        if reply.failed:
            error = ERROR.search(reply.text)
            raise CommandFailed(error[1] if error else reply.text)
        return reply.text

    def state(self):
        """The kernel's state as a dict: docs/reference/state.md."""
        return json.loads(self.tell("state"))

    def execute(self, command, **arguments):
        """Executes a QMP command: as `Qmp.execute`, and raises Ended."""
        with self._before(f"the answer to {command}"):
            return self.qmp.execute(command, **arguments)

    def memory_device(self, id):
        """What QEMU says of a DIMM, an NVDIMM or a virtio memory device (query-memory-devices), or {}."""
        devices = [device["data"] for device in self.execute("query-memory-devices")]
        return next((device for device in devices if device.get("id") == id), {})

    def plug(self, id, size, driver="pc-dimm", backend=None, **properties):
        """Plugs a DIMM and waits for the guest's report. Returns its place.

        `properties` are the device's (addr, slot, node), `backend` those of its memory ({"qom-type":
        "memory-backend-file", "mem-path": ...}). Raises Refused; QEMU still has a DIMM that the guest refuses.
        """
        memory = {"qom-type": "memory-backend-ram", "id": "mem-" + id, "size": in_bytes(size)}
        self.execute("object-add", **{**memory, **(backend or {})})
        since = self._request(id)
        try:
            self.execute("device_add", driver=driver, id=id, memdev="mem-" + id, **properties)
        except Refused:
            self.execute("object-del", id="mem-" + id)
            raise
        self._plugged.add(id)
        place = self.memory_device(id)
        if driver == "pc-dimm":  # an NVDIMM has no report
            status = self._event(f"the guest's report on {id}", id, INSERTION)
            if status:
                raise Refused(f"the guest refuses {id}: {self._reason(place, since)}", status)
        return Plugged(place["addr"], place["size"], place["slot"])

    def unplug(self, id, timeout=None):
        """Unplugs a DIMM and waits until it is gone. Raises Refused if the guest keeps it."""
        place, since = self.memory_device(id), self._request(id)
        self.execute("device_del", id=id)
        status = self._event(f"the end of {id}", id, EJECTION, timeout or 2 * STEP)
        if status != "gone":
            raise Refused(f"the guest keeps {id}: {self._reason(place, since)}", status)
        if id in self._plugged:  # a DIMM of the command line has a backend of another name
            self._plugged.remove(id)
            self.execute("object-del", id="mem-" + id)

    def _request(self, id):
        """Forgets the events of earlier requests for a device. Returns how much the console has printed."""
        of = lambda data: data.get("info", data).get("device")  # noqa: E731
        self.qmp.events = [event for event in self.qmp.events if of(event.get("data", {})) != id]
        return len(self.console.text())

    def _event(self, what, id, source, timeout=None):
        """The _OST status that the guest reports on a device, or "gone"."""

        def wanted(event, data):
            info = data.get("info", {})
            if event == "ACPI_DEVICE_OST" and info.get("device") == id and info["source"] == source:
                return None if source == EJECTION and info["status"] == IN_PROGRESS else info["status"]
            if event == "DEVICE_DELETED" and data.get("device") == id and source == EJECTION:
                return "gone"
            if event in ("MEM_UNPLUG_ERROR", "DEVICE_UNPLUG_GUEST_ERROR") and data.get("device") == id:
                raise Refused(f"QEMU cannot unplug {id}: {data.get('msg', event)}")
            return None

        with self._before(what):
            return self.qmp.wait_event(what, wanted, timeout)

    def _reason(self, place, since):
        """The line of the guest's log, which may come later than its report."""
        line = re.compile(rf"^dimm{place['slot']}: refused: ([^\r\n]*)\r?\n", re.M)
        with self._before("the reason"):
            return self.console.wait("the reason", line.search, since)[1]

    def resize(self, id, size, timeout=None):
        """Requests a size of a virtio memory device, and waits until the guest has tried.

        Returns the device's entry in `state`: if something is in the way, that is "stuck", and `plugged_size` differs.
        """
        size, end = in_bytes(size), time.monotonic() + (timeout or 2 * STEP)
        self.execute("qom-set", path="/machine/peripheral/" + id, property="requested-size", value=size)
        start = self.memory_device(id)["memaddr"]
        while time.monotonic() < end:
            entry = next((one for one in self.state()["virtio_mem"] if int(one["start"], 16) == start), None)
            if entry is None:
                raise Error(f"the guest does not drive {id}")
            if entry["requested_size"] == size and entry["state"] != "waiting":
                return entry
            time.sleep(0.01)
        raise Hang(f"{id} is to have {size} bytes, and the guest has {entry}")

    def wait_exit(self, timeout=None):
        """Waits for the guest to end. Returns its status and the reason that it gives, or QEMU's status and None."""
        with contextlib.suppress(Closed):
            self.console.wait("the end", lambda text: None, self._since, timeout)
        return self._end()

    def power_off(self):
        """Powers off. Returns the status."""
        self.console.type("poweroff\n")
        return self.wait_exit()[0]

    def finish(self):
        """Audits, and powers off. Raises CommandFailed, or Error if there were warnings or the status is not 0."""
        self.tell("audit")
        warnings, status = self.state()["warnings"], self.power_off()
        if warnings or status:
            first = WARNING.search(self.console.text())
            first = f"; the first: {first[1]}" if first else ""
            raise Error(f"{warnings} warnings, exit status {status}{first}", status)


def qemus_end(status):
    """How a QEMU ended whose guest said nothing, by its status; `None` if another program started it."""
    if status is None:
        return "the console or the monitor was closed"
    if status < 0:
        return f"QEMU was killed by signal {-status}"
    return f"QEMU ended (status {status}" + ("; its message is on standard error)" if status else ")")


def start(command, timeout=None):
    """Starts QEMU by a command line of your own, a list of words, and waits until the guest takes commands.

    The serial console is standard input and output. "{qmp}" in a word stands for the path of the QMP socket, e.g.
    "-qmp", "unix:{qmp},server=on,wait=off".
    """
    folder = new_folder()
    path = os.path.join(folder, "qmp")
    command = [str(word).replace("{qmp}", path) for word in command]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    except OSError:
        os.rmdir(folder)
        raise
    try:
        qmp = Qmp(path, lambda: process.poll() is not None, timeout)
        runs = any(re.search(r"(^|[\s=])run=", word) for word in command)
        return Guest(Console(process.stdout, process.stdin), qmp, process, True, folder, runs, timeout)
    except Closed:
        status = process.wait(STEP)
        end_process(process, folder)
        raise Ended(f"{qemus_end(status)} before its QMP socket was open", status) from None
    except BaseException:
        end_process(process, folder)
        raise


def boot(options=(), append="", qemu=(), script=None, timeout=None):
    """Boots by scripts/qemu: `options` are the script's, `append` is for the kernel, `qemu` are QEMU's own words."""
    script = script or pathlib.Path(__file__).resolve().parents[2] / "scripts/qemu"
    words = [script, "--exec", "--qmp", "{qmp}", *options, "--append", f"{append} script=on".strip()]
    if "HOTMAP_IMAGE" in os.environ:
        words += ["--kernel", os.environ["HOTMAP_IMAGE"]]
    return start([*words, "--", *qemu], timeout)


def attach(output, input, qmp, booting=False, timeout=None):
    """A guest of a QEMU that runs already, by its console (binary files) and the path of its QMP socket.

    `booting`: the guest has not said yet that it is ready. Else it waits for a command. QEMU runs on after the end of a
    `with`, and a thread reads `output` until that ends: shut a socket down before another reader takes it.
    """
    return Guest(Console(output, input), Qmp(qmp, timeout=timeout), booting=booting, timeout=timeout)
