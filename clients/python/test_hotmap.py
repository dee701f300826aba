"""usage: test_hotmap.py [-v] [CLASS.TEST...]

What hotmap.py does beyond the cases that all clients share: its own errors, and what it leaves behind.
"""

import gc
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

import hotmap

HERE = pathlib.Path(__file__).resolve().parent


def long_folder(test):
    """A folder whose path leaves no room for a Unix socket's (108 bytes, unix(7))."""
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    path = os.path.join(folder.name, "x" * (130 - len(folder.name) - 1))
    os.mkdir(path)
    return path


def python(test, script, **variables):
    """The output and the status of a script in a process of its own."""
    environment = dict(os.environ, PYTHONPATH=str(HERE), **variables)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout, done.returncode


def is_running(pid):
    """Whether a process runs; a zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Processes(unittest.TestCase):
    def test_a_script_that_fails_leaves_no_qemu_and_no_folder(self):
        folder = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(folder.cleanup)
        said, status = python(self, """
            import hotmap
            guest = hotmap.boot()
            print(guest.process.pid, flush=True)
            raise RuntimeError("a bug of the script")
        """, TMPDIR=folder.name)
        self.assertEqual(status, 1)
        pid = int(said)
        end = time.monotonic() + hotmap.STEP / 10
        while is_running(pid) and time.monotonic() < end:
            time.sleep(0.01)
        running = is_running(pid)
        if running:
            os.kill(pid, 9)
        self.assertFalse(running, "QEMU runs on")
        self.assertEqual(os.listdir(folder.name), [])

    def test_a_guest_that_is_dropped_ends_its_qemu(self):
        guest = hotmap.boot()
        process = guest.process
        del guest
        gc.collect()
        self.assertEqual(process.wait(hotmap.STEP), -9)

    def test_a_long_tmpdir_is_no_obstacle(self):
        said, status = python(self, """
            import hotmap
            with hotmap.boot() as guest:
                guest.finish()
        """, TMPDIR=long_folder(self))
        self.assertEqual(status, 0, said)


class Errors(unittest.TestCase):
    def test_a_qemu_that_does_not_start_has_said_why_on_standard_error(self):
        with self.assertRaisesRegex(hotmap.Ended, r"^QEMU ended \(status 125; its message is on standard error\) before"):
            hotmap.start(["sh", "-c", "exit 125"])

    def test_a_qemu_that_a_signal_ends_is_named_so(self):
        with self.assertRaisesRegex(hotmap.Ended, r"^QEMU was killed by signal 6 before") as raised:
            hotmap.start(["sh", "-c", "kill -6 $$"])
        self.assertEqual(raised.exception.status, -6)

    def test_a_socket_without_a_greeting_may_have_another_client(self):
        with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
            server.bind(folder + "/qmp")
            server.listen()
            with self.assertRaisesRegex(hotmap.Hang, "does another client hold it?"):
                hotmap.Qmp(folder + "/qmp", timeout=0.05)

    def test_the_first_warning_is_quoted_at_the_end(self):
        with hotmap.boot(append="nonsense=1 rubbish=2") as guest:
            with self.assertRaisesRegex(hotmap.Error, "^2 warnings, exit status 0; the first: .*nonsense"):
                guest.finish()

    def test_a_size_is_a_number_or_qemus_notation(self):
        self.assertEqual([hotmap.in_bytes(size) for size in (1, 4096, "7", "1k", "2G")],
                         [1, 4096, 7, 1024, 2 << 30])
        for size in (-5, 1.5, 1e9, True, None, "", "1.5G", "-1M", b"1G", [1]):
            with self.assertRaisesRegex(ValueError, "^a size is a number, or such as 128M or 1G, not "):
                hotmap.in_bytes(size)

    def test_a_dimm_of_an_impossible_size_does_not_end_qemu(self):
        with hotmap.boot() as guest:
            for size, error in ((-5, ValueError), (1.5, ValueError), (0, hotmap.Refused), ("0M", hotmap.Refused)):
                with self.assertRaises(error):
                    guest.plug("z", size)
            guest.finish()


if __name__ == "__main__":
    unittest.main()
