//! The declarations in a definition block, as far as needed (ACPI 6.5, 20.2.5).

use crate::announced::{Announced, Interrupt, OpRegion};
use crate::cursor::{Cursor, Stop};
use crate::name;
use crate::problem::What;

/// The most packages in each other: QEMU's regions are in a scope, a device and a method.
const MOST_DEEP: u32 = 8;

/// Opcodes (ACPI 6.5, 20.3).
mod op {
    pub(super) const ZERO: u8 = 0x00;
    pub(super) const ONE: u8 = 0x01;
    pub(super) const ALIAS: u8 = 0x06;
    pub(super) const NAME: u8 = 0x08;
    pub(super) const BYTE: u8 = 0x0a;
    pub(super) const WORD: u8 = 0x0b;
    pub(super) const DWORD: u8 = 0x0c;
    pub(super) const STRING: u8 = 0x0d;
    pub(super) const QWORD: u8 = 0x0e;
    pub(super) const SCOPE: u8 = 0x10;
    pub(super) const BUFFER: u8 = 0x11;
    pub(super) const PACKAGE: u8 = 0x12;
    pub(super) const VAR_PACKAGE: u8 = 0x13;
    pub(super) const METHOD: u8 = 0x14;
    pub(super) const EXTERNAL: u8 = 0x15;
    pub(super) const EXTENDED: u8 = 0x5b;
    pub(super) const LOCAL_0: u8 = 0x60;
    pub(super) const ARG_6: u8 = 0x6e;
    pub(super) const STORE: u8 = 0x70;
    pub(super) const IF: u8 = 0xa0;
    pub(super) const ELSE: u8 = 0xa1;
    pub(super) const NO_OPERATION: u8 = 0xa3;
    pub(super) const ONES: u8 = 0xff;
    /// Behind [`EXTENDED`].
    pub(super) const MUTEX: u8 = 0x01;
    pub(super) const EVENT: u8 = 0x02;
    pub(super) const REGION: u8 = 0x80;
    pub(super) const FIELD: u8 = 0x81;
    pub(super) const DEVICE: u8 = 0x82;
    pub(super) const PROCESSOR: u8 = 0x83;
    pub(super) const BANK_FIELD: u8 = 0x87;
}

/// What the terms are in, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A scope.
    Scope,
    /// QEMU's device of the memory slots (hw/acpi/memory_hotplug.c).
    Slots,
    /// The Generic Event Device (hw/acpi/generic_event_device.c).
    Events,
    /// The root of the NVDIMMs (hw/acpi/nvdimm.c).
    Nvdimm,
    /// Its method that talks to QEMU.
    NvdimmCall,
}

impl Place {
    fn of_device(name: [u8; 4]) -> Option<Self> {
        match &name {
            b"MHPD" => Some(Self::Slots),
            b"GED_" => Some(Self::Events),
            b"NVDR" => Some(Self::Nvdimm),
            _ => None,
        }
    }

    /// Whether nothing that is still looked for can be here.
    fn is_done(self, found: &Announced) -> bool {
        match self {
            Self::Scope => found.is_complete(),
            Self::Slots => found.slots.is_some(),
            Self::Events => found.events.is_some() && found.interrupt.is_some(),
            Self::Nvdimm | Self::NvdimmCall => found.nvdimm.is_some(),
        }
    }
}

/// Reads the terms up to `end`, the end of the table.
pub(crate) fn read(cursor: &mut Cursor, end: u32, found: &mut Announced) {
    Reader { cursor, found }.terms(end, Place::Scope, 0);
}

struct Reader<'a, 'b> {
    cursor: &'a mut Cursor<'b>,
    found: &'a mut Announced,
}

impl Reader<'_, '_> {
    /// Reads a package's terms, up to the first that cannot be read; the caller goes on behind the package.
    fn terms(&mut self, end: u32, place: Place, depth: u32) {
        while self.cursor.at() < end && !place.is_done(self.found) {
            if self.term(end, place, depth).is_err() {
                return;
            }
        }
    }

    fn term(&mut self, end: u32, place: Place, depth: u32) -> Result<(), Stop> {
        match self.cursor.byte(end)? {
            op::NAME => self.named_data(end, place),
            op::SCOPE => {
                let package = self.package(end)?;
                name::last_segment(self.cursor, package)?;
                self.inside(package, Place::Scope, depth)
            }
            op::METHOD => {
                let package = self.package(end)?;
                let is_call = &name::last_segment(self.cursor, package)? == b"NCAL" && place == Place::Nvdimm;
                let _flags = self.cursor.byte(package)?;
                if is_call { self.inside(package, Place::NvdimmCall, depth) } else { self.leave_out(package) }
            }
            op::EXTENDED => self.extended(end, place, depth),
            op::ALIAS => {
                name::last_segment(self.cursor, end)?;
                name::last_segment(self.cursor, end).map(drop)
            }
            op::EXTERNAL => {
                name::last_segment(self.cursor, end)?;
                self.cursor.skip(2, end)
            }
            op::STORE if place == Place::NvdimmCall => {
                self.simple(end)?;
                self.simple(end)
            }
            op::IF | op::ELSE => {
                let package = self.package(end)?;
                self.leave_out(package)
            }
            op::NO_OPERATION => Ok(()),
            opcode => Err(self.not_read(opcode)),
        }
    }

    /// A term whose opcode has two bytes.
    fn extended(&mut self, end: u32, place: Place, depth: u32) -> Result<(), Stop> {
        match self.cursor.byte(end)? {
            op::DEVICE => {
                let package = self.package(end)?;
                match Place::of_device(name::last_segment(self.cursor, package)?) {
                    Some(device) => self.inside(package, device, depth),
                    None => self.leave_out(package),
                }
            }
            op::REGION => self.region(end, place),
            op::MUTEX => {
                name::last_segment(self.cursor, end)?;
                self.cursor.skip(1, end)
            }
            op::EVENT => name::last_segment(self.cursor, end).map(drop),
            op::FIELD | op::PROCESSOR..=op::BANK_FIELD => {
                let package = self.package(end)?;
                self.leave_out(package)
            }
            opcode => Err(self.not_read(opcode)),
        }
    }

    /// Reads the terms of a package whose name was read.
    fn inside(&mut self, package: u32, place: Place, depth: u32) -> Result<(), Stop> {
        if depth < MOST_DEEP {
            self.terms(package, place, depth + 1);
        } else {
            self.cursor.stop(What::Deep);
        }
        self.leave_out(package)
    }

    /// Goes on behind a package, unless there is nothing left to look for.
    fn leave_out(&mut self, package: u32) -> Result<(), Stop> {
        if !self.found.is_complete() {
            self.cursor.go_to(package);
        }
        Ok(())
    }

    /// `OperationRegion`: kept, if it is the one that is looked for in this place.
    fn region(&mut self, end: u32, place: Place) -> Result<(), Stop> {
        let name = name::last_segment(self.cursor, end)?;
        let space = self.cursor.byte(end)?;
        let place = match (place, &name) {
            (Place::Slots, b"HPMR") => &mut self.found.slots,
            (Place::Events, b"EREG") => &mut self.found.events,
            (Place::NvdimmCall, b"NPIO") => &mut self.found.nvdimm,
            _ => {
                self.simple(end)?;
                return self.simple(end);
            }
        };
        let mut constant = || {
            let opcode = self.cursor.byte(end)?;
            let constant = constant(self.cursor, opcode, end)?;
            constant.ok_or_else(|| self.cursor.stop(What::NotConstant(name)))
        };
        let (start, bytes) = (constant()?, constant()?);
        place.get_or_insert(OpRegion { space, start, bytes });
        Ok(())
    }

    /// `Name`: leaves the object out, unless it is the `_CRS` of the event device.
    fn named_data(&mut self, end: u32, place: Place) -> Result<(), Stop> {
        let name = name::last_segment(self.cursor, end)?;
        let opcode = self.cursor.byte(end)?;
        match opcode {
            op::BUFFER | op::PACKAGE | op::VAR_PACKAGE => {
                let package = self.package(end)?;
                if place == Place::Events && &name == b"_CRS" && opcode == op::BUFFER {
                    self.resources(package)?;
                }
                self.leave_out(package)
            }
            op::STRING => {
                while self.cursor.byte(end)? != 0 {}
                Ok(())
            }
            _ => match constant(self.cursor, opcode, end)? {
                Some(_) => Ok(()),
                None => Err(self.not_read(opcode)),
            },
        }
    }

    /// The first extended interrupt descriptor of a resource template (ACPI 6.5, 6.4): a large descriptor has its length in two
    /// bytes, a small one in three bits.
    fn resources(&mut self, end: u32) -> Result<(), Stop> {
        const LARGE: u8 = 0x80;
        const INTERRUPT: u8 = 0x89;
        /// Bit 1 of the interrupt's flags.
        const EDGE: u64 = 1 << 1;
        let size = self.cursor.byte(end)?;
        constant(self.cursor, size, end)?;
        while self.cursor.at() < end && self.found.interrupt.is_none() {
            let tag = self.cursor.byte(end)?;
            if tag & LARGE == 0 {
                self.cursor.skip(u32::from(tag & 0x7), end)?;
                continue;
            }
            let [low, high] = self.cursor.bytes(end)?;
            let length = u32::from(u16::from_le_bytes([low, high]));
            // Flags, how many interrupts there are, and the first.
            if tag == INTERRUPT && length >= 6 {
                let (flags, count) = (self.cursor.number(1, end)?, self.cursor.byte(end)?);
                let gsi = u32::from_le_bytes(self.cursor.bytes(end)?);
                self.found.interrupt = (count > 0).then_some(Interrupt { gsi, edge: flags & EDGE != 0 });
                self.cursor.skip(length - 6, end)?;
            } else {
                self.cursor.skip(length, end)?;
            }
        }
        Ok(())
    }

    /// Leaves an argument out that is a constant, a name, or a variable of a method.
    fn simple(&mut self, end: u32) -> Result<(), Stop> {
        let opcode = self.cursor.byte(end)?;
        match opcode {
            op::LOCAL_0..=op::ARG_6 => Ok(()),
            _ if name::begins(opcode) => name::last_segment_after(opcode, self.cursor, end).map(drop),
            _ => match constant(self.cursor, opcode, end)? {
                Some(_) => Ok(()),
                None => Err(self.not_read(opcode)),
            },
        }
    }

    /// PkgLength (20.2.4); returns where the package ends. The length counts its own bytes.
    fn package(&mut self, end: u32) -> Result<u32, Stop> {
        let start = self.cursor.at();
        let lead = u32::from(self.cursor.byte(end)?);
        let more = lead >> 6;
        let mut length = if more == 0 { lead & 0x3f } else { lead & 0xf };
        for place in 0..more {
            length |= u32::from(self.cursor.byte(end)?) << (4 + 8 * place);
        }
        let room = end - start;
        if length > more && length <= room {
            Ok(start + length)
        } else {
            Err(self.cursor.stop_at(start, What::Package { length, room }))
        }
    }

    /// The problem of an opcode that was just read.
    fn not_read(&mut self, opcode: u8) -> Stop {
        self.cursor.stop_at(self.cursor.at() - 1, What::Opcode(opcode))
    }
}

/// The integer that begins with `opcode` (20.2.3); `None`: it is no constant.
fn constant(cursor: &mut Cursor, opcode: u8, end: u32) -> Result<Option<u64>, Stop> {
    let bytes = match opcode {
        op::ZERO => return Ok(Some(0)),
        op::ONE => return Ok(Some(1)),
        op::ONES => return Ok(Some(u64::MAX)),
        op::BYTE => 1,
        op::WORD => 2,
        op::DWORD => 4,
        op::QWORD => 8,
        _ => return Ok(None),
    };
    cursor.number(bytes, end).map(Some)
}
