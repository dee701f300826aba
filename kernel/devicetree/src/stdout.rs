//! The console: the node that /chosen's `stdout-path` names (Devicetree Specification 3.6), as
//! `path[:options]` or `alias[:options]`.
//!
//! It is looked up after the pass, when the path and the aliases are known: QEMU puts /chosen last. The walk
//! compares names only, and reads the properties of the nodes on the path.
use crate::bus::Buses;
use crate::console::{Console, Spacing, Uart};
use crate::error::DtError;
use crate::facts::{Facts, Node, Tree};
use crate::interrupt::{Interrupt, InterruptKind};
use crate::name::name;
use crate::value::{CELL, u32_at, until_nul};

/// What the pass found out about the console.
#[derive(Default)]
pub(crate) struct Stdout<'a> {
    /// The value of `stdout-path`.
    pub(crate) path: Option<&'a [u8]>,
    /// The /aliases node.
    pub(crate) aliases: Option<Node<'a>>,
    /// The GIC's node, if there is one.
    pub(crate) gic: InterruptController,
}

/// How a node refers to an interrupt controller.
#[derive(Clone, Copy, Default)]
pub(crate) struct InterruptController {
    phandle: Option<u32>,
    cells: Option<u32>,
    /// Of its unit address, in an `interrupt-map`.
    pub(crate) address_cells: Option<u32>,
}

impl InterruptController {
    pub(crate) fn of(facts: &Facts<'_>) -> Self {
        let (phandle, cells) = (facts.phandle, facts.interrupt_cells);
        Self { phandle, cells, address_cells: facts.address_cells }
    }

    /// Whether a node with this interrupt parent means it, and in the GIC's three cells. A tree without interrupt parents
    /// has one controller.
    pub(crate) fn takes(self, parent: Option<u32>) -> bool {
        self.cells == Some(3) && parent.is_none_or(|parent| self.phandle == Some(parent))
    }
}

/// Finds the node and reads it. `buses` holds the root; the levels below are filled anew.
#[inline(never)] // for the early stack's sake, as in `scan`
pub(crate) fn resolve<'a>(
    tree: &Tree<'a>,
    buses: &mut Buses<'a>,
    stdout: &Stdout<'a>,
) -> Result<Console, DtError> {
    let Some(text) = stdout.path else { return Ok(Console::Absent) };
    let unresolved = || DtError::StdoutPath { path: name(text) };
    let path = absolute_path(text, stdout.aliases)?.ok_or_else(unresolved)?;
    let mut components = path.split(|byte| *byte == b'/').filter(|component| !component.is_empty());
    let mut wanted = components.next();
    let mut level = 1;
    for (index, item) in tree.all_nodes().map_err(|_| DtError::Reader { index: 0 })?.enumerate() {
        let (depth, node) = item.map_err(|_| DtError::Reader { index })?;
        let Some(component) = wanted else { break };
        if depth < level {
            // The node above it has ended without it.
            break;
        }
        if depth > level {
            continue;
        }
        let node_name = node.name().map_err(|_| DtError::NodeName { index })?;
        if !matches(component, node_name.name, node_name.unit_address) {
            continue;
        }
        let facts = Facts::gather(node, node_name)?;
        if !facts.is_enabled() {
            return Ok(Console::Absent);
        }
        buses.enter(depth, &facts);
        wanted = components.next();
        if wanted.is_none() {
            return read(buses, depth, &facts, stdout.gic);
        }
        level += 1;
    }
    Err(unresolved())
}

/// The path without options, an alias replaced by its path; `None` for an alias that is not one.
fn absolute_path<'a>(text: &'a [u8], aliases: Option<Node<'a>>) -> Result<Option<&'a [u8]>, DtError> {
    let path = text.split(|byte| *byte == b':').next().unwrap_or(text);
    if path.starts_with(b"/") {
        return Ok(Some(path));
    }
    let Some(aliases) = aliases else { return Ok(None) };
    let unreadable = |_| DtError::PropertyName { node: name(b"aliases") };
    for property in aliases.properties().map_err(unreadable)? {
        let property = property.map_err(unreadable)?;
        if property.name.as_bytes() == path {
            return Ok(Some(until_nul(property.value)));
        }
    }
    Ok(None)
}

/// Whether a path's component names this node; it may leave the unit address out.
fn matches(component: &[u8], name: &str, unit_address: Option<&str>) -> bool {
    let mut parts = component.splitn(2, |byte| *byte == b'@');
    let base = parts.next().unwrap_or_default();
    let unit = parts.next();
    base == name.as_bytes() && (unit.is_none() || unit == unit_address.map(str::as_bytes))
}

/// Reads the console's node; one that is not on the CPU's bus is none.
fn read(
    buses: &Buses<'_>,
    depth: usize,
    facts: &Facts<'_>,
    gic: InterruptController,
) -> Result<Console, DtError> {
    let Some([region]) = buses.regions(depth, facts)? else { return Ok(Console::Absent) };
    let interrupt = facts.interrupts.filter(|_| gic.takes(buses.interrupt_parent(depth))).and_then(interrupt);
    let uart = Uart { region, interrupt };
    if facts.is_compatible(b"arm,pl011") {
        return Ok(Console::Pl011(uart));
    }
    let is_16550 = facts.is_compatible(b"ns16550a") || facts.is_compatible(b"ns16550");
    let spacing = Spacing::of(facts.reg_shift, facts.reg_io_width).filter(|_| is_16550);
    Ok(spacing.map_or(Console::Other(uart), |spacing| Console::Ns16550(uart, spacing)))
}

/// The first interrupt of `interrupts`, in the GIC's three cells.
pub(crate) fn interrupt(value: &[u8]) -> Option<Interrupt> {
    let kind = match u32_at(value, 0)? {
        0 => InterruptKind::Spi,
        1 => InterruptKind::Ppi,
        _ => return None,
    };
    Some(Interrupt { kind, number: u32_at(value, CELL)?, flags: u32_at(value, 2 * CELL)? })
}
