"""Memory hotplug, for pytest or unittest: `pytest examples` or `python3 -m unittest examples/test_hotplug.py`.

Each test boots a machine, in less than a second. QEMU=path chooses another QEMU.
"""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients/python"))
import hotmap  # noqa: E402

MIB = 1 << 20


class Hotplug(unittest.TestCase):
    def test_a_dimm_is_plugged_and_unplugged(self):
        with hotmap.boot() as guest:
            before = guest.state()["pages"]
            dimm = guest.plug("d0", "1G")
            state = guest.state()
            self.assertEqual(state["dimms"][0]["state"], "online")
            self.assertEqual(int(state["dimms"][0]["start"], 16), dimm.address)
            self.assertEqual(state["pages"]["present"] - before["present"], dimm.size // state["granule"])
            guest.unplug("d0")
            self.assertEqual(guest.state()["pages"], before)
            guest.finish()

    def test_what_is_refused_says_why(self):
        with hotmap.boot() as guest:
            with self.assertRaisesRegex(hotmap.Refused, "64 MiB|not a multiple|memory block"):
                guest.plug("half", "64M")  # half of a memory block
            guest.unplug("half")
            dimm = guest.plug("d0", "1G")
            guest.tell(f"pin addr:{dimm.address + 64 * MIB:#x}")
            with self.assertRaisesRegex(hotmap.Refused, "pinned") as raised:
                guest.unplug("d0")
            self.assertEqual(raised.exception.status, 0x82)
            self.assertEqual(guest.state()["dimms"][0]["state"], "online")
            guest.tell(f"unpin addr:{dimm.address + 64 * MIB:#x}")
            guest.unplug("d0")
            guest.finish()

    def test_unplug_under_load_moves_the_pages_that_are_in_use(self):
        with hotmap.boot(["--smp", "2"]) as guest:
            dimm = guest.plug("d0", "256M")
            guest.tell("tenant new 50000")
            in_use = sum(block["tenant_pages"] for block in guest.state()["blocks"]
                         if int(block["start"], 16) >= dimm.address)
            self.assertGreater(in_use, 0)
            guest.unplug("d0")
            guest.tell("tenant check")  # each page holds what was written
            guest.finish()

    def test_virtio_memory_follows_the_requested_size(self):
        with hotmap.boot(["--virtio-mem", "4G,requested=256M"]) as guest:
            for size in ("1G", "512M", "0M", "2G"):
                entry = guest.resize("vm0", size)
                self.assertEqual((entry["state"], entry["plugged_size"]), ("steady", hotmap.in_bytes(size)))
            guest.finish()


if __name__ == "__main__":
    unittest.main()
