//! The properties whose values can be wrong, as an enum: an error that names one holds no pointer, so it
//! can still be printed after the kernel has moved to its high addresses.

/// A property that an error can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// `#address-cells`
    AddressCells,
    /// `#size-cells`
    SizeCells,
    /// `#interrupt-cells`
    InterruptCells,
    /// `phandle`
    Phandle,
    /// `interrupt-parent`
    InterruptParent,
    /// `reg`
    Reg,
    /// `reg-shift`
    RegShift,
    /// `reg-io-width`
    RegIoWidth,
    /// `ranges`
    Ranges,
    /// `bus-range`
    BusRange,
    /// `interrupt-map`
    InterruptMap,
    /// `interrupt-map-mask`
    InterruptMapMask,
    /// `numa-node-id`
    NumaNodeId,
    /// `compatible`
    Compatible,
    /// `bootargs`
    Bootargs,
    /// `stdout-path`
    StdoutPath,
    /// `linux,initrd-start`
    InitrdStart,
    /// `linux,initrd-end`
    InitrdEnd,
    /// `method`
    Method,
    /// `cpu_on`
    CpuOn,
    /// `#redistributor-regions`
    RedistributorRegions,
    /// `redistributor-stride`
    RedistributorStride,
}

impl Property {
    /// Its name in the tree.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressCells => "#address-cells",
            Self::SizeCells => "#size-cells",
            Self::InterruptCells => "#interrupt-cells",
            Self::Phandle => "phandle",
            Self::InterruptParent => "interrupt-parent",
            Self::Reg => "reg",
            Self::RegShift => "reg-shift",
            Self::RegIoWidth => "reg-io-width",
            Self::Ranges => "ranges",
            Self::BusRange => "bus-range",
            Self::InterruptMap => "interrupt-map",
            Self::InterruptMapMask => "interrupt-map-mask",
            Self::NumaNodeId => "numa-node-id",
            Self::Compatible => "compatible",
            Self::Bootargs => "bootargs",
            Self::StdoutPath => "stdout-path",
            Self::InitrdStart => "linux,initrd-start",
            Self::InitrdEnd => "linux,initrd-end",
            Self::Method => "method",
            Self::CpuOn => "cpu_on",
            Self::RedistributorRegions => "#redistributor-regions",
            Self::RedistributorStride => "redistributor-stride",
        }
    }
}

impl core::fmt::Display for Property {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
