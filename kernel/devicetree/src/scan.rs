//! The one pass over the tree, in the order of the blob: each node's properties are gathered once and given to
//! the reader that wants them.
use fdt::nodes::{AsNode, NodeName};

use crate::bus::Buses;
use crate::description::{Gic, MachineDescription};
use crate::error::DtError;
use crate::facts::{Facts, Node, Tree};
use crate::property::Property;
use crate::stdout::{self, InterruptController, Stdout};
use crate::structure::MAX_DEPTH;
use crate::value::{copy_text, until_nul};
use crate::virtio::{self, Wiring};
use crate::{chosen, devices, memory, reserved};

/// What an open node makes of its children.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Ordinary.
    Plain,
    /// /cpus
    Cpus,
    /// /reserved-memory
    ReservedMemory,
    /// Under a node whose `status` takes it, and all below it, away from us.
    Disabled,
}

/// The state of the pass.
struct Scan<'a, 'o> {
    buses: Buses<'a>,
    places: [Place; MAX_DEPTH + 1],
    stdout: Stdout<'a>,
    wiring: Wiring<'a>,
    out: &'o mut MachineDescription,
}

/// Reads the tree. `blob` has passed `header` and `structure`: what this asks of the `fdt` crate cannot fail but
/// for text that is not UTF-8.
pub(crate) fn scan(blob: &[u8], out: &mut MachineDescription) -> Result<(), DtError> {
    let tree = Tree::new_unaligned_fallible(blob).map_err(|_| DtError::Reader { index: 0 })?;
    let root = tree.root().map_err(|_| DtError::Reader { index: 0 })?.as_node();
    let mut scan = Scan {
        buses: Buses::new(),
        places: [Place::Plain; MAX_DEPTH + 1],
        stdout: Stdout::default(),
        wiring: Wiring::default(),
        out,
    };
    scan.root(root)?;
    for (index, item) in tree.all_nodes().map_err(|_| DtError::Reader { index: 0 })?.enumerate() {
        let (depth, node) = item.map_err(|_| DtError::Reader { index })?;
        let name = node.name().map_err(|_| DtError::NodeName { index })?;
        scan.node(depth, node, name)?;
    }
    let Scan { mut buses, stdout, wiring, out, .. } = scan;
    virtio::connect(&wiring, stdout.gic, out);
    out.console = stdout::resolve(&tree, &mut buses, &stdout)?;
    Ok(())
}

impl<'a> Scan<'a, '_> {
    fn root(&mut self, root: Node<'a>) -> Result<(), DtError> {
        let facts = Facts::gather(root, NodeName::new("/", None))?;
        if let Some(compatible) = facts.compatible {
            copy_text(&mut self.out.compatible, Property::Compatible, until_nul(compatible))?;
        }
        self.buses.enter(0, &facts);
        Ok(())
    }

    // A frame of its own: inlined into one, the readers' frames would add up to more than 4 KiB of early stack.
    #[inline(never)]
    fn node(&mut self, depth: usize, node: Node<'a>, name: NodeName<'a>) -> Result<(), DtError> {
        let parent = self.places[depth - 1];
        self.places[depth] = parent;
        if parent == Place::Disabled {
            return Ok(());
        }
        let facts = Facts::gather(node, name)?;
        self.buses.enter(depth, &facts);
        self.places[depth] = if facts.is_enabled() { Place::Plain } else { Place::Disabled };
        if facts.is_enabled() {
            self.read(parent, depth, node, &facts)?;
        }
        Ok(())
    }

    /// Gives an enabled node to its reader.
    fn read(
        &mut self,
        parent: Place,
        depth: usize,
        node: Node<'a>,
        facts: &Facts<'a>,
    ) -> Result<(), DtError> {
        let (buses, out) = (&mut self.buses, &mut *self.out);
        match (parent, facts.device_type) {
            (Place::ReservedMemory, _) => reserved::read_node(buses, depth, facts, out),
            (Place::Cpus, Some(b"cpu")) => devices::read_cpu(buses, depth, facts, out),
            (_, Some(b"memory")) => memory::read_memory(buses, depth, facts, out),
            _ if depth == 1 && facts.is_named("chosen") => {
                self.stdout.path = facts.stdout_path;
                chosen::read(facts, out)
            }
            _ if depth == 1 && facts.is_named("aliases") => {
                self.stdout.aliases = Some(node);
                Ok(())
            }
            _ if depth == 1 && facts.is_named("cpus") => {
                self.places[depth] = Place::Cpus;
                Ok(())
            }
            _ if depth == 1 && facts.is_named("reserved-memory") => {
                self.places[depth] = Place::ReservedMemory;
                // Its `ranges` must be there and empty; a range that is not kept out of would be worse than one
                // that is kept out of without the formality.
                buses.assume_identity(depth);
                Ok(())
            }
            _ => {
                let was_absent = matches!(out.gic, Gic::Absent);
                devices::read(buses, depth, facts, out, &mut self.wiring)?;
                if was_absent && !matches!(out.gic, Gic::Absent) {
                    self.stdout.gic = InterruptController::of(facts);
                }
                Ok(())
            }
        }
    }
}
