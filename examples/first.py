"""Three DIMMs, a refusal, and virtio memory, without a client: docs/guide/scripting.md is all that it relies on."""
import atexit, json, socket, subprocess, tempfile  # noqa: E401

folder = tempfile.TemporaryDirectory(dir="/tmp")  # a socket's path has less than 108 bytes
path = folder.name + "/qmp"
command = ["scripts/qemu", "--exec", "--qmp", path, "--virtio-mem", "4G", "--append", "script=on"]
qemu = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
atexit.register(qemu.kill)

def lines_to(start, line="-"):
    while line and not line.startswith(start):
        yield (line := qemu.stdout.readline())

def ask(command):
    print(command, file=qemu.stdin, flush=True)
    *reply, end = list(lines_to("begin ")) and lines_to("end ")
    assert end.endswith(" 0\n"), reply
    return "".join(reply)

def qmp(command, device=None, **arguments):  # what QEMU answers, or with a device what becomes of that
    monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
    for message in map(json.loads, answers):
        assert "error" not in message, message
        info = message.get("data", {}).get("info", message.get("data", message))
        if device and info.get("device") == device and info.get("status") != 132:
            return info.get("status", "gone")  # the guest's OST, or DEVICE_DELETED
        if not device and "event" not in message:
            return message["return"]

list(lines_to("ready 1"))
(monitor := socket.socket(socket.AF_UNIX)).connect(path)
next(answers := monitor.makefile()), qmp("qmp_capabilities")
for name in ("d0", "d1", "d2"):
    qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "m" + name, "size": 512 << 20})
    assert qmp("device_add", name, driver="pc-dimm", id=name, memdev="m" + name) == 0
ask("pin addr:" + hex(int(json.loads(ask("state"))["dimms"][1]["start"], 16) + (64 << 20)))
assert [qmp("device_del", name, id=name) for name in ("d1", "d2")] == [130, "gone"]  # d1 has a page that cannot move
qmp("qom-set", path="/machine/peripheral/vm0", property="requested-size", value=1 << 30)
while json.loads(ask("state"))["virtio_mem"][0]["plugged_size"] != 1 << 30: pass  # noqa: E701
print(ask("audit"), end="")
