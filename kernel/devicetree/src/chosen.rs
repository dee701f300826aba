//! The /chosen node (Devicetree Specification 3.6): what the boot loader asks for. Its `stdout-path` is looked
//! up later, by `stdout`: the node it names may stand before or after this one.
use crate::description::MachineDescription;
use crate::error::DtError;
use crate::facts::Facts;
use crate::property::Property;
use crate::region::Region;
use crate::value::copy_text;

/// Takes the boot arguments and the initial RAM disk.
pub(crate) fn read(facts: &Facts<'_>, out: &mut MachineDescription) -> Result<(), DtError> {
    if let Some(bootargs) = facts.bootargs {
        copy_text(&mut out.bootargs, Property::Bootargs, bootargs)?;
    }
    out.initrd = initrd(facts)?;
    Ok(())
}

/// The initial RAM disk (Linux Documentation/arch/arm64/booting: `linux,initrd-start` and `-end`); an empty one is
/// none.
fn initrd(facts: &Facts<'_>) -> Result<Option<Region>, DtError> {
    match (facts.initrd_start, facts.initrd_end) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(facts.missing(Property::InitrdEnd)),
        (None, Some(_)) => Err(facts.missing(Property::InitrdStart)),
        (Some(start), Some(end)) if end < start => Err(DtError::Initrd { start, end }),
        (Some(start), Some(end)) => Ok((end > start).then(|| Region { start, size: end - start })),
    }
}
