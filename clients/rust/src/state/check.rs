//! The identities that hold in every `state` line between two operations.

use super::{Block, BlockState, Dedup, Device, DevicePart, Memmap, State, ZoneName};
use crate::geometry::{MIB, PAGE_STRUCT_BYTES};

impl super::Pages {
    /// I6: every page is counted once.
    pub const fn somewhere(&self) -> u64 {
        self.free + self.allocated + self.memmap_self + self.memmap_ram + self.tables + self.reserved
    }
}

impl super::Zone {
    /// Its nodes are in order, and have its pages. A kernel older than the key lists none.
    fn nodes_add_up(&self) -> bool {
        let sum = |of: fn(&super::ZoneNode) -> u64| self.nodes.iter().map(of).sum::<u64>();
        let ordered = self.nodes.windows(2).all(|pair| pair[0].node < pair[1].node);
        let pages = (sum(|node| node.present), sum(|node| node.free));
        self.nodes.is_empty() || ordered && pages == (self.present, self.free)
    }
}

impl State {
    /// One sentence for each contradiction in this line.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut claim = |holds: bool, sentence: String| {
            if !holds {
                found.push(sentence);
            }
        };
        let (present, sum) = (self.pages.present, self.pages.somewhere());
        claim(present == sum, format!("I6: present is {present}, but the parts make {sum}"));
        claim(self.granule().is_some(), format!("granule {} is none", self.granule));
        let bytes = self.vmemmap.page_bytes;
        claim(bytes == PAGE_STRUCT_BYTES, format!("a struct page has {bytes} bytes"));
        let free: u64 = self.zones.iter().map(|zone| zone.free).sum();
        claim(
            free == self.pages.free,
            format!("zones have {free} free pages, pages.free is {}", self.pages.free),
        );
        for zone in &self.zones {
            claim(zone.free <= zone.present, format!("zone {} has more free than present pages", zone.name));
            claim(zone.start_pfn <= zone.end_pfn, format!("zone {} ends before it starts", zone.name));
            claim(zone.nodes_add_up(), format!("zone {} has other pages than its nodes", zone.name));
        }
        for block in &self.blocks {
            claim(
                self.block_fits(block),
                format!("block {:#x} has an impossible size or usable_start", block.start),
            );
            let zoned = (block.zone == ZoneName::None) == (block.state == BlockState::Offline);
            claim(zoned, format!("block {:#x} is {:?} in zone {:?}", block.start, block.state, block.zone));
        }
        for pair in self.blocks.windows(2) {
            let [one, two] = pair else { continue };
            let apart = one.start + one.size <= two.start;
            claim(apart, format!("blocks {:#x} and {:#x} overlap or are out of order", one.start, two.start));
        }
        // A kernel without `schema` has no list of tenants.
        let (tenants, in_blocks) =
            (self.tenants.iter().map(|tenant| tenant.pages).sum::<u64>(), self.tenant_pages());
        claim(
            self.schema.is_none() || tenants == in_blocks,
            format!("tenants have {tenants} pages, and blocks have {in_blocks} of theirs"),
        );
        let Dedup { shared_pages, mappings, saved_pages, .. } = self.dedup;
        claim(
            shared_pages + saved_pages == mappings && shared_pages <= mappings / 2,
            format!("{mappings} pages of vmemmap share {shared_pages} frames, and {saved_pages} are saved"),
        );
        found.extend(self.lent_pages_are_counted());
        let mut claim = |holds: bool, sentence: String| {
            if !holds {
                found.push(sentence);
            }
        };
        for pool in &self.dedup.hugetlb {
            let (size, pages) = (pool.size, pool.size / self.granule.max(1));
            let within = pool.free <= pool.total && pool.optimised <= pool.total;
            claim(within, format!("the pool of {size} bytes has more pages of a kind than pages"));
            let listed = pool.heads.len() as u64 == pool.total;
            claim(listed, format!("the pool of {size} bytes has {} pages and lists others", pool.total));
            let aligned = pool.heads.iter().all(|head| head % pages.max(1) == 0);
            claim(aligned, format!("a huge page of {size} bytes is not aligned to its size"));
        }
        for device in &self.devices {
            let at = device.start;
            let fits = device.state == "kmem" || device.ranges.iter().all(|part| self.is_no_blocks(part));
            claim(fits, format!("device {at:#x} overlaps a memory block"));
            claim(self.device_fits(device), format!("device {at:#x} has impossible ranges or usable_start"));
            let account = device.altmap.is_none_or(|altmap| altmap.align + altmap.alloc <= altmap.free);
            claim(account, format!("device {at:#x} has more of its altmap in use than there is"));
        }
        found
    }

    /// What blocks lend holds memmap or tables, and each source has the same number for it.
    fn lent_pages_are_counted(&self) -> Option<String> {
        let demand = self.memmap_demand;
        let lent: u64 = self.blocks.iter().filter(|b| b.memmap == Memmap::Demand).map(|b| b.lent).sum();
        let right = lent == demand.lent && lent == demand.private + demand.tables && demand.spare == 0;
        (!right).then(|| format!("blocks lend {lent} pages, and on demand there is {demand:?}"))
    }

    fn is_no_blocks(&self, part: &DevicePart) -> bool {
        let apart =
            |block: &Block| part.start + part.size <= block.start || block.start + block.size <= part.start;
        self.blocks.iter().all(apart)
    }

    /// A device is whole subsections; its altmap is at its start, and it is usable from the altmap's end.
    fn device_fits(&self, device: &Device) -> bool {
        let aligned = device.ranges.iter().all(|part| {
            part.size > 0 && part.start.is_multiple_of(2 * MIB) && part.size.is_multiple_of(2 * MIB)
        });
        let first = device.ranges.first().map(|part| (part.start, part.size));
        let aside = device.altmap.map_or(0, |altmap| altmap.reserve + altmap.free) * self.granule;
        let based = device.altmap.is_none_or(|altmap| altmap.base_pfn * self.granule == device.start);
        // Single pages, or whole compound pages at multiples of their size.
        let usable = device.usable_start == (device.start + aside).next_multiple_of(device.align.max(1))
            && device.usable_start <= device.start + device.size;
        aligned && first == Some((device.start, device.size)) && based && usable
    }

    fn block_fits(&self, block: &Block) -> bool {
        let aligned = self.granule().is_some_and(|granule| block.size == granule.block());
        let usable = block.start <= block.usable_start && block.usable_start - block.start <= block.size;
        aligned && block.start.is_multiple_of(block.size) && usable
    }
}
