//! One node's properties, gathered in one go: what a node is can only be said when all of them are known, as
//! they come in any order. Values stay where they are, in the blob, for as long as the parse runs.
use core::slice::ChunksExact;

use fdt::Fdt;
use fdt::helpers::UnalignedFallibleNode;
use fdt::nodes::NodeName;
use fdt::parsing::NoPanic;
use fdt::parsing::unaligned::UnalignedParser;

use crate::error::DtError;
use crate::name::{self, Name};
use crate::property::Property;
use crate::value;

/// The tree as the `fdt` crate gives it. Not its aligned reader: a byte slice may start anywhere.
pub(crate) type Tree<'a> = Fdt<'a, (UnalignedParser<'a>, NoPanic)>;

/// A node as the `fdt` crate gives it.
pub(crate) type Node<'a> = UnalignedFallibleNode<'a>;

/// The properties that some reader of this crate asks for; everything else is ignored.
#[derive(Default)]
pub(crate) struct Facts<'a> {
    name: &'a str,
    unit_address: Option<&'a str>,
    pub(crate) address_cells: Option<u32>,
    pub(crate) size_cells: Option<u32>,
    pub(crate) interrupt_cells: Option<u32>,
    pub(crate) compatible: Option<&'a [u8]>,
    pub(crate) device_type: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    pub(crate) reg: Option<&'a [u8]>,
    pub(crate) ranges: Option<&'a [u8]>,
    pub(crate) phandle: Option<u32>,
    pub(crate) interrupt_parent: Option<u32>,
    pub(crate) interrupts: Option<&'a [u8]>,
    pub(crate) numa_node: Option<u32>,
    pub(crate) bootargs: Option<&'a [u8]>,
    pub(crate) stdout_path: Option<&'a [u8]>,
    pub(crate) initrd_start: Option<u64>,
    pub(crate) initrd_end: Option<u64>,
    pub(crate) method: Option<&'a [u8]>,
    pub(crate) cpu_on: Option<u32>,
    pub(crate) enable_method: Option<&'a [u8]>,
    pub(crate) redistributor_regions: Option<u32>,
    pub(crate) redistributor_stride: Option<u64>,
    pub(crate) reg_shift: Option<u32>,
    pub(crate) reg_io_width: Option<u32>,
    pub(crate) interrupt_map: Option<&'a [u8]>,
    pub(crate) interrupt_map_mask: Option<&'a [u8]>,
    pub(crate) bus_range: Option<&'a [u8]>,
    pub(crate) dma_coherent: bool,
    pub(crate) hotpluggable: bool,
    pub(crate) volatile: bool,
    pub(crate) no_map: bool,
}

impl<'a> Facts<'a> {
    /// Reads the properties of `node`, whose name is `name`.
    pub(crate) fn gather(node: Node<'a>, name: NodeName<'a>) -> Result<Self, DtError> {
        let mut facts = Self { name: name.name, unit_address: name.unit_address, ..Self::default() };
        let properties = node.properties().map_err(|_| DtError::PropertyName { node: facts.text() })?;
        for property in properties {
            let property = property.map_err(|_| DtError::PropertyName { node: facts.text() })?;
            facts.take(property.name, property.value)?;
        }
        Ok(facts)
    }

    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), DtError> {
        match name {
            "#address-cells" => self.address_cells = Some(self.one_cell(Property::AddressCells, value)?),
            "#size-cells" => self.size_cells = Some(self.one_cell(Property::SizeCells, value)?),
            "#interrupt-cells" => {
                self.interrupt_cells = Some(self.one_cell(Property::InterruptCells, value)?)
            }
            "phandle" => self.phandle = Some(self.one_cell(Property::Phandle, value)?),
            "interrupt-parent" => {
                self.interrupt_parent = Some(self.one_cell(Property::InterruptParent, value)?)
            }
            "#redistributor-regions" => {
                self.redistributor_regions = Some(self.one_cell(Property::RedistributorRegions, value)?);
            }
            "redistributor-stride" => {
                self.redistributor_stride = Some(self.number(Property::RedistributorStride, value)?);
            }
            "cpu_on" => self.cpu_on = Some(self.one_cell(Property::CpuOn, value)?),
            "reg-shift" => self.reg_shift = Some(self.one_cell(Property::RegShift, value)?),
            "reg-io-width" => self.reg_io_width = Some(self.one_cell(Property::RegIoWidth, value)?),
            "numa-node-id" => self.numa_node = Some(self.one_cell(Property::NumaNodeId, value)?),
            "linux,initrd-start" => self.initrd_start = Some(self.number(Property::InitrdStart, value)?),
            "linux,initrd-end" => self.initrd_end = Some(self.number(Property::InitrdEnd, value)?),
            "compatible" => self.compatible = Some(value),
            "device_type" => self.device_type = Some(value::until_nul(value)),
            "status" => self.status = Some(value::until_nul(value)),
            "reg" => self.reg = Some(value),
            "ranges" => self.ranges = Some(value),
            "interrupts" => self.interrupts = Some(value),
            "bootargs" => self.bootargs = Some(value::until_nul(value)),
            "stdout-path" => self.stdout_path = Some(value::until_nul(value)),
            "method" => self.method = Some(value::until_nul(value)),
            "enable-method" => self.enable_method = Some(value),
            "interrupt-map" => self.interrupt_map = Some(value),
            "interrupt-map-mask" => self.interrupt_map_mask = Some(value),
            "bus-range" => self.bus_range = Some(value),
            "dma-coherent" => self.dma_coherent = true,
            "hotpluggable" => self.hotpluggable = true,
            "volatile" => self.volatile = true,
            "no-map" => self.no_map = true,
            _ => {}
        }
        Ok(())
    }

    /// Whether `status` leaves the node to us: absent, "okay" or "ok" (Devicetree Specification 2.3.4).
    pub(crate) fn is_enabled(&self) -> bool {
        matches!(self.status, None | Some(b"okay" | b"ok"))
    }

    /// Whether `compatible` has this entry.
    pub(crate) fn is_compatible(&self, with: &[u8]) -> bool {
        self.compatible.is_some_and(|list| value::strings(list).any(|entry| entry == with))
    }

    /// Whether this is the node called `name`, which may leave the unit address out
    /// (Devicetree Specification 2.2.3).
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name == name && self.unit_address.is_none()
    }

    /// The name.
    pub(crate) fn name(&self) -> NodeName<'a> {
        NodeName::new(self.name, self.unit_address)
    }

    /// The whole name, for a message.
    #[cold]
    pub(crate) fn text(&self) -> Name {
        text(self.name())
    }

    /// The error for a property that this node should have.
    #[cold]
    pub(crate) fn missing(&self, property: Property) -> DtError {
        DtError::MissingProperty { node: self.text(), property }
    }

    fn one_cell(&self, property: Property, value: &[u8]) -> Result<u32, DtError> {
        value::one_cell(value).ok_or_else(|| self.no_number(property, value.len(), 1))
    }

    fn number(&self, property: Property, value: &[u8]) -> Result<u64, DtError> {
        value::one_or_two_cells(value).ok_or_else(|| self.no_number(property, value.len(), 2))
    }

    /// The error for a value of `size` bytes that should be a number of at most so many cells.
    #[cold]
    fn no_number(&self, property: Property, size: usize, cells: usize) -> DtError {
        DtError::NumberSize { node: self.text(), property, size, cells }
    }

    /// The error for a list of entries of `unit` bytes that is none.
    #[cold]
    pub(crate) fn wrong_size(&self, property: Property, value: &[u8], unit: usize) -> DtError {
        DtError::PropertySize { node: self.text(), property, size: value.len(), unit }
    }

    /// Splits a value into entries of `unit` bytes, of which there must be one at least and no part of one.
    pub(crate) fn entries<'v>(
        &self,
        property: Property,
        value: &'v [u8],
        unit: usize,
    ) -> Result<ChunksExact<'v, u8>, DtError> {
        if value.is_empty() || !value.len().is_multiple_of(unit) {
            return Err(self.wrong_size(property, value, unit));
        }
        Ok(value.chunks_exact(unit))
    }
}

/// A node's whole name, for a message.
#[cold]
pub(crate) fn text(name: NodeName<'_>) -> Name {
    let mut text = name::name(name.name.as_bytes());
    if let Some(unit_address) = name.unit_address {
        name::append(&mut text, b"@");
        name::append(&mut text, unit_address.as_bytes());
    }
    text
}
