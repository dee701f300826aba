//! Interrupts of the GIC, as a node names them.

/// Which kind of GIC interrupt (Linux Documentation/devicetree/bindings/interrupt-controller/arm,gic.yaml, first cell).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptKind {
    /// Shared peripheral interrupt.
    Spi,
    /// Private peripheral interrupt.
    Ppi,
}

/// A GIC interrupt specifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// First cell.
    pub kind: InterruptKind,
    /// Second cell: the number within the kind.
    pub number: u32,
    /// Third cell: 1 and 2 edge, 4 and 8 level.
    pub flags: u32,
}

impl Interrupt {
    /// The INTID (GIC architecture specification, IHI 0069, 2.2): PPIs start at 16, SPIs at 32.
    #[must_use]
    pub const fn intid(self) -> u32 {
        match self.kind {
            InterruptKind::Ppi => self.number.saturating_add(16),
            InterruptKind::Spi => self.number.saturating_add(32),
        }
    }

    /// Whether it is raised by an edge, not by a level.
    #[must_use]
    pub const fn is_edge(self) -> bool {
        matches!(self.flags & 0xf, 1 | 2)
    }
}
