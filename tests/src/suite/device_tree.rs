//! Device trees that QEMU does not make: an absurd one ends the boot with a message, and a hole in RAM stays a hole.

use super::matrix::{COMMANDS, checks_itself, self_tests_pass};
use super::test::{Test, per_granule};
use crate::fdt::{Node, add_to_root};
use hotmap_client::error::{Checked, Error, failed, unknown};
use hotmap_client::geometry::{Granule, MIB, RAM_BASE};
use hotmap_client::guest::run_to_end;
use hotmap_client::machine::{Boot, Machine};
use hotmap_client::qemu::{Exit, Qemu};
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};
use std::path::PathBuf;

/// A test's name and its tree.
type Absurd = (&'static str, fn() -> Node);

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("device-tree/hole", a_hole_in_ram);
    tests.extend(per_granule("device-tree/reserved", reserved_memory_is_never_allocated));
    tests.extend(per_granule("device-tree/as-given", |run, granule| {
        let blob = qemus_blob(run)?;
        let machine = with_blob(run, granule, &blob)?.append(COMMANDS);
        checks_itself(run, &machine, Boot::Firmware, granule)
    }));
    let absurd: [Absurd; 3] = [
        ("empty", empty_tree),
        ("reserved-everything", everything_is_reserved),
        ("absurd-cells", absurd_cells),
    ];
    for (name, tree) in absurd {
        let body = move |run: &Run| an_absurd_tree(run, &tree());
        tests.push(Test::new(format!("device-tree/{name}"), body));
    }
    for lie in lies() {
        let name = format!("device-tree/lie/{}", lie.name);
        tests.push(Test::new(name, move |run: &Run| a_lie_is_refused(run, &lie)));
    }
    tests.push(Test::new("device-tree/ppi-console", a_console_without_an_spi_is_polled));
    tests.push(Test::new("device-tree/no-fw-cfg", what_nothing_announces_is_not_looked_for));
    tests
}

/// The tree that QEMU makes for the same machine.
pub(super) fn qemus_blob(run: &Run) -> Checked<Vec<u8>> {
    blob_of(run, &Machine::firmware())
}

/// The tree that QEMU makes for `machine`.
pub(super) fn blob_of(run: &Run, machine: &Machine) -> Checked<Vec<u8>> {
    let file = run.path("virt.dtb");
    let dump = format!("dumpdtb={}", file.display());
    let mut qemu = Qemu::start(&machine.clone().extra(["-machine", &dump]), None)?;
    let exit = qemu.wait_exit(hotmap_client::patience::Deadline::for_step())?;
    if exit != Exit::FINE {
        return unknown(format!("QEMU does not dump its device tree: {exit}: {}", qemu.complaints.text()));
    }
    std::fs::read(&file).map_err(|error| Error::Unknown(format!("cannot read the dumped tree: {error}")))
}

pub(super) fn with_blob(run: &Run, granule: Granule, blob: &[u8]) -> Checked<Machine> {
    let file = save(run, blob)?;
    Ok(Machine::firmware().granule(granule).extra(["-dtb", &file.to_string_lossy()]))
}

fn save(run: &Run, blob: &[u8]) -> Checked<PathBuf> {
    let file = run.path("given.dtb");
    std::fs::write(&file, blob).map_err(|error| Error::Unknown(format!("cannot write the tree: {error}")))?;
    Ok(file)
}

/// A firmware boot with these nodes added to the tree that QEMU makes.
pub(super) fn with_nodes(run: &Run, granule: Granule, nodes: &[Node]) -> Checked<Machine> {
    let blob = add_to_root(&qemus_blob(run)?, nodes).map_err(Error::Unknown)?;
    with_blob(run, granule, &blob)
}

/// A firmware boot with QEMU's tree in which `from`, which is there once, is `to`, of the same length.
pub(super) fn with_change(run: &Run, from: &[u8], to: &[u8]) -> Checked<Machine> {
    let mut blob = qemus_blob(run)?;
    let is_here = |at: &usize| blob[*at..].starts_with(from);
    let places: Vec<usize> = (0..blob.len()).filter(is_here).collect();
    let [at] = places[..] else {
        return unknown(format!("{from:x?} is in the tree {} times", places.len()));
    };
    blob[at..at + from.len()].copy_from_slice(to);
    with_blob(run, Granule::K4, &blob)
}

/// The tree of a machine that has a console and what `nodes` say.
pub(super) fn machine_of(nodes: &[Node]) -> Node {
    nodes.iter().cloned().fold(root().child(uart()), Node::child)
}

/// A firmware boot with this tree, to which QEMU adds its memory and the boot arguments.
pub(super) fn boot_with(run: &Run, tree: &Node) -> Checked<Machine> {
    with_blob(run, Granule::K4, &tree.blob())
}

/// `/reserved-memory` with one child.
pub(super) fn reserved_memory(child: Node) -> Node {
    Node::new("reserved-memory")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .bytes("ranges", Vec::new())
        .child(child)
}

/// `no-map`: 48 MiB in the middle of RAM, at no block's border, must not be in the linear map.
fn a_hole_in_ram(run: &Run, granule: Granule) -> Checked<String> {
    let (start, size) = (RAM_BASE + 296 * MIB, 48 * MIB);
    let hole = Node::new("hole@52800000").reg(start, size).bytes("no-map", Vec::new());
    let machine = with_nodes(run, granule, &[reserved_memory(hole)])?;
    let remark = checks_itself(run, &machine.clone().append(COMMANDS), Boot::Firmware, granule)?;
    let mut guest = hotmap_client::guest::Guest::boot(run, &machine)?;
    let state = guest.state()?;
    for inside in [start, start + size / 2, start + size - 8] {
        let seen = crate::eyes::translate(&mut guest.qmp, state.linear_address(inside))?;
        ensure_eq!(
            seen,
            None,
            "what QEMU finds at the linear address of {inside:#x}, which is not to be mapped"
        );
    }
    for outside in [start - granule.bytes(), start + size] {
        let seen = crate::eyes::translate(&mut guest.qmp, state.linear_address(outside))?;
        ensure_eq!(seen, Some(outside), "what QEMU finds at the linear address beside the hole");
    }
    guest.finish()?;
    Ok(remark)
}

/// Reserved but mapped: these pages are never allocated, however much memory is requested.
fn reserved_memory_is_never_allocated(run: &Run, granule: Granule) -> Checked<String> {
    let (start, size) = (RAM_BASE + 256 * MIB, 16 * MIB);
    let kept = reserved_memory(Node::new("kept@50000000").reg(start, size));
    let mut guest =
        hotmap_client::guest::Guest::boot(run, &with_nodes(run, granule, &[kept])?.memory("512M"))?;
    let mut plain = hotmap_client::guest::Guest::boot(run, &with_nodes(run, granule, &[])?.memory("512M"))?;
    let (state, without) = (guest.state()?, plain.state()?);
    let more = state.pages.reserved.checked_sub(without.pages.reserved);
    ensure_eq!(more, Some(granule.pages(size)), "pages that /reserved-memory keeps");
    let before = crate::eyes::words(&mut guest.qmp, start + size / 2, 8)?;
    guest.tell(&format!("tenant new {}", state.pages.free * 9 / 10))?;
    let after = crate::eyes::words(&mut guest.qmp, start + size / 2, 8)?;
    ensure_eq!(after, before, "words of reserved memory");
    guest.tell("tenant drop")?;
    guest.finish()?;
    plain.finish()?;
    Ok(String::new())
}

fn root() -> Node {
    Node::new("")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .text("compatible", "linux,dummy-virt")
}

/// The console, where `virt` has it (QEMU `hw/arm/virt.c`, `VIRT_UART`): without one there is no message to check.
fn uart() -> Node {
    let node = Node::new("pl011@9000000").reg(0x0900_0000, 0x1000);
    node.bytes("compatible", b"arm,pl011\0arm,primecell\0".to_vec())
}

/// The tree of a VMM that calls itself what QEMU does, and has no fw_cfg. The memory-hotplug registers of QEMU are there all
/// the same, with a DIMM in a slot: nothing says so, so that nothing reads them.
fn what_nothing_announces_is_not_looked_for(run: &Run) -> Checked<String> {
    let dimm = ["-object", "memory-backend-ram,id=m0,size=128M", "-device", "pc-dimm,id=d0,memdev=m0"];
    let machine = boot_with(run, &root().child(uart()))?.extra(dimm).append("run=\"dimms; audit\"");
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::FINE, "the exit status");
    finished.line("that there are no slots", |line| line.starts_with("this machine has no DIMM slots"))?;
    ensure!(!finished.text.contains("dimm0"), "a DIMM was found");
    Ok(String::new())
}

/// A console, and what QEMU adds itself (memory, chosen).
fn empty_tree() -> Node {
    root().child(uart())
}

/// All of RAM is reserved and not to be mapped.
fn everything_is_reserved() -> Node {
    let all = Node::new("all@40000000").reg(RAM_BASE, 1 << 30).bytes("no-map", Vec::new());
    root().child(uart()).child(reserved_memory(all))
}

/// A reservation whose address takes 7 cells of 32 bits.
fn absurd_cells() -> Node {
    let child = Node::new("odd@1").cells("reg", &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let reserved = Node::new("reserved-memory").cells("#address-cells", &[7]).cells("#size-cells", &[2]);
    root().child(uart()).child(reserved.bytes("ranges", Vec::new()).child(child))
}

/// A tree that says something about the machine that is not so.
struct Lie {
    name: &'static str,
    tree: Node,
    /// What the message says: what is wrong, and where.
    says: &'static [&'static str],
}

/// The interrupt controller's node (Linux, bindings/interrupt-controller/arm,gic.yaml and arm,gic-v3.yaml).
fn gic(compatible: &str, windows: [(u64, u64); 2]) -> Node {
    let reg = windows.iter().flat_map(|(start, size)| [start.to_be_bytes(), size.to_be_bytes()]).flatten();
    Node::new("intc@8000000").text("compatible", compatible).bytes("reg", reg.collect())
}

/// A console at `start`, and the `stdout-path` that names it.
fn console_at(start: u64) -> Node {
    let uart = Node::new(&format!("pl011@{start:x}")).reg(start, 0x1000);
    let chosen = Node::new("chosen").text("stdout-path", &format!("/pl011@{start:x}"));
    root().child(uart.bytes("compatible", b"arm,pl011\0arm,primecell\0".to_vec())).child(chosen)
}

fn fw_cfg(start: u64) -> Node {
    Node::new(&format!("fw-cfg@{start:x}")).text("compatible", "qemu,fw-cfg-mmio").reg(start, 0x18)
}

/// RAM beside what QEMU adds (a node that is called `memory` would be replaced).
fn more_ram(start: u64, size: u64) -> Node {
    root()
        .child(uart())
        .child(Node::new(&format!("ram@{start:x}")).text("device_type", "memory").reg(start, size))
}

/// Addresses are QEMU's (`hw/arm/virt.c`, `base_memmap`), and where a firmware boot has its blob and its image.
fn lies() -> Vec<Lie> {
    let lie = |name, tree, says| Lie { name, tree, says };
    let with = |node| root().child(uart()).child(node);
    let v2 = |windows| with(gic("arm,cortex-a15-gic", windows));
    let v3 = |windows| with(gic("arm,gic-v3", windows));
    vec![
        lie("uart-in-ram", console_at(0x5000_0000), &["UART", "0x50000000", "RAM"]),
        lie("uart-in-image", console_at(0x4042_0000), &["UART", "0x40420000", "the image"]),
        lie("uart-in-blob", console_at(0x4000_0000), &["UART", "0x40000000", "the device tree"]),
        lie("gicc-in-ram", v2([(0x800_0000, 0x1_0000), (0x5000_0000, 0x1_0000)]), &["CPU interface", "RAM"]),
        lie("gicd-small", v2([(0x800_0800, 0x10), (0x801_0000, 0x1_0000)]), &["distributor", "0x8000800"]),
        lie(
            "gicr-small",
            v3([(0x800_0000, 0x1_0000), (0x80a_0000, 0x1000)]),
            &["redistributor", "0x1000 bytes"],
        ),
        lie("fw-cfg-at-0", with(fw_cfg(0)), &["fw_cfg", "0x0.."]),
        lie("fw-cfg-far", with(fw_cfg(0x1_0000_0000)), &["fw_cfg", "0x100000000..", "below 4 GiB"]),
        lie("fw-cfg-in-ram", with(fw_cfg(0x5000_0000)), &["fw_cfg", "RAM"]),
        lie("ram-from-0", more_ram(0, RAM_BASE), &["RAM", "0x0.."]),
        lie(
            "ram-over-flash",
            more_ram(0x400_0000, 64 * MIB).child(fw_cfg(0x902_0000)),
            &["0x4000000..", "RAM starts at 0x40000000"],
        ),
        lie("ram-over-uart", more_ram(0x900_0000, MIB), &["UART", "RAM"]),
    ]
}

/// Status 2 and one line that names what is wrong; not an exception, not silence, not a hang.
fn a_lie_is_refused(run: &Run, lie: &Lie) -> Checked<String> {
    let machine = with_blob(run, Granule::K4, &lie.tree.blob())?.append(COMMANDS);
    let finished = run_to_end(run, &machine)?;
    let line = finished.line("that says why", |line| line.starts_with("error: device tree: "))?.to_owned();
    ensure_eq!(finished.exit, Exit::PANIC, "the exit of a boot that is refused");
    for part in lie.says {
        ensure!(line.contains(part), "'{line}' does not say '{part}'");
    }
    let unexpected = ["ESR", "backtrace", "panicked"].iter().find(|word| finished.text.contains(*word));
    ensure!(unexpected.is_none(), "beside the message: {unexpected:?}");
    Ok(line)
}

/// The console's interrupt is called a PPI: it is not an SPI of that number. Commands are answered all the same.
fn a_console_without_an_spi_is_polled(run: &Run) -> Checked<String> {
    let mut blob = qemus_blob(run)?;
    // <GIC_SPI 1 IRQ_TYPE_LEVEL_HIGH> is in the tree once, the UART's.
    let cells = |kind: u32| [kind, 1, 4].map(u32::to_be_bytes).concat();
    let places: Vec<usize> =
        blob.windows(12).enumerate().filter(|(_, w)| *w == cells(0)).map(|(at, _)| at).collect();
    let [at] = places[..] else { return unknown(format!("SPI 1 is in the tree {} times", places.len())) };
    blob.splice(at..at + 12, cells(1));
    let mut guest = hotmap_client::guest::Guest::boot(run, &with_blob(run, Granule::K4, &blob)?)?;
    let line = guest.text().lines().find(|line| line.contains("PPI")).map(str::to_owned);
    for _ in 0..3 {
        guest.tell("audit")?;
    }
    guest.finish()?;
    line.map_or_else(|| failed("no line says that the console's interrupt cannot be used"), Ok)
}

/// Boots and passes its checks, or ends with one line and a status: no hang, no exception.
fn an_absurd_tree(run: &Run, tree: &Node) -> Checked<String> {
    let machine = with_blob(run, Granule::K4, &tree.blob())?.append(COMMANDS);
    let finished = run_to_end(run, &machine)?;
    // Statuses 0 and 1 are `run=`'s: it booted, so the checks must pass.
    if matches!(finished.exit, Exit::FINE | Exit::COMMAND_FAILED) {
        return self_tests_pass(&finished);
    }
    let unexpected = ["ESR", "backtrace", "panicked"].iter().find(|word| finished.text.contains(*word));
    ensure!(unexpected.is_none(), "an absurd device tree is an exception, not a message: {:?}", unexpected);
    Ok(finished.line("that says why", |line| line.starts_with("error: "))?.to_owned())
}
