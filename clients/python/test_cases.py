"""usage: test_cases.py [-v] [Cases.test_NAME...]

Runs the cases of clients/cases.json with hotmap.py: a test for each. QEMU=path and HOTMAP_IMAGE=path choose others.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import hotmap

CLIENTS = pathlib.Path(__file__).resolve().parents[1]
TABLE = json.loads((CLIENTS / "cases.json").read_text())
QEMU = os.environ.get("QEMU", "qemu-system-aarch64")
IMAGE = os.environ.get("HOTMAP_IMAGE", str(CLIENTS.parent / "target/hotmap.Image"))


def command(machine, **places):
    """The command line of a machine of the table; a place without a value stays."""
    places = {"qemu": QEMU, "image": IMAGE, **places}
    words = TABLE["machines"][machine]
    for name, value in places.items():
        words = [word.replace("{" + name + "}", value) for word in words]
    return words


class Attached:
    """A QEMU of another program: its console and its QMP socket are Unix sockets."""

    def __init__(self, machine):
        self.folder = tempfile.mkdtemp(prefix="hotmap-")
        self.places = {name: os.path.join(self.folder, name) for name in ("qmp", "console")}
        self.process = subprocess.Popen(command(machine, **self.places), stdin=subprocess.DEVNULL)
        self.socket = None

    def connect(self, booting):
        self.socket = socket.socket(socket.AF_UNIX)
        while self.socket.connect_ex(self.places["console"]):
            time.sleep(0.01)
        self.console = self.socket.makefile("rwb", buffering=0)
        return hotmap.attach(self.console, self.console, self.places["qmp"], booting)

    def disconnect(self, guest):
        guest.qmp.socket.close()
        with contextlib.suppress(OSError):  # QEMU has ended
            self.socket.shutdown(socket.SHUT_RDWR)
        self.console.close()
        self.socket.close()

    def end(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)


class Cases(unittest.TestCase):
    """A method for each case is added below."""

    def run_case(self, case):
        if "never-ready" in case:
            with self.assertRaises(hotmap.Ended) as raised:
                hotmap.start(command(case["machine"]))
            return self.assertIn(case["never-ready"], str(raised.exception))
        with contextlib.ExitStack() as stack:
            if "{console}" in str(TABLE["machines"][case["machine"]]):
                self.other = Attached(case["machine"])
                stack.callback(self.other.end)
                self.guest = self.other.connect(booting=True)
                stack.callback(lambda: self.other.disconnect(self.guest))
            else:
                self.guest = stack.enter_context(hotmap.start(command(case["machine"])))
            for step in case["steps"]:
                try:
                    self.run_step(step)
                except Exception as error:
                    raise AssertionError(f"{step}: {error!r}; the console:\n{self.guest.console.text()}") from error

    def run_step(self, step):
        guest = self.guest
        if "ask" in step:
            line = step["ask"] * step.get("repeat", 1)
            if "error" in step:
                self.error(step, lambda: guest.ask(line, step.get("within")))
            else:
                self.check_reply(step, guest.ask(line, step.get("within")))
        elif "reply" in step:
            self.check_reply(step, guest.await_reply())
        elif "type" in step:
            guest.console.type(step["type"])
        elif "state" in step:
            self.check_state(step)
        elif "plug" in step:
            more = {name: step[name] for name in ("addr", "node", "driver") if name in step}
            self.refusal(step, lambda: guest.plug(step["plug"], step["size"], **more))
        elif "unplug" in step:
            self.refusal(step, lambda: guest.unplug(step["unplug"]))
        elif "resize" in step:
            entry = guest.resize(step["resize"], step["size"])
            self.assertEqual(entry["state"], step["becomes"])
            self.check_number(step, "plugged", entry["plugged_size"])
        elif "qmp" in step:
            guest.execute(step["qmp"])
        elif "printed" in step:
            guest.console.wait(step["printed"], lambda text: True if step["printed"] in text else None)
        elif "ends" in step:
            self.assertEqual(guest.wait_exit()[0], step["ends"])
        elif "ready" in step:
            guest.await_ready()
        elif "again" in step:
            self.other.disconnect(guest)
            self.guest = self.other.connect(booting=False)
        else:
            self.assertIn("finish", step)
            self.error(step, guest.finish) if "error" in step else guest.finish()

    def error(self, step, call):
        errors = {"ended": hotmap.Ended, "hang": hotmap.Hang, "failed": (hotmap.Error, ValueError)}
        with self.assertRaises(errors[step["error"]]) as raised:
            call()
        self.assertIn(step.get("contains", ""), str(raised.exception))

    def refusal(self, step, call):
        status = step.get("refused")
        if status is None:
            return call()
        with self.assertRaises(hotmap.Refused) as raised:
            call()
        self.assertEqual(raised.exception.status, None if status == "qemu" else status, raised.exception)
        self.assertIn(step.get("contains", ""), str(raised.exception))

    def check_reply(self, step, reply):
        self.assertEqual(reply.failed, step.get("failed", reply.failed), reply)
        self.assertEqual(reply.text, step.get("text", reply.text))
        self.assertIn(step.get("contains", ""), reply.text)

    def check_number(self, step, name, value):
        self.assertEqual(value, step.get(name, value))
        if "above" in step:
            self.assertGreater(value, step["above"])

    def check_state(self, step):
        end = time.monotonic() + (hotmap.STEP if step.get("soon") else 0)
        while True:
            value = self.guest.state()
            with contextlib.suppress(LookupError):
                for key in step["state"].split("/"):
                    value = value[int(key) if key.isdigit() else key]
                if value == step.get("is", value):
                    break
            if time.monotonic() >= end:
                break
        self.check_number(step, "is", value)


for case in TABLE["cases"]:
    setattr(Cases, "test_" + case["name"].replace("-", "_"), lambda self, case=case: self.run_case(case))

if __name__ == "__main__":
    unittest.main()
