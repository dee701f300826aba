//! The pools of huge pages that the boot arguments ask for (`hugepages=`, `hvo=`), filled before anything else takes memory,
//! while it is in large pieces.

use hotmap_mm::addr::Bytes;
use hotmap_mm::hugetlb::pool::Resized;
use hotmap_mm::mm::Mm;

use crate::arch::machine::Arm;
use crate::attention::Attention;
use crate::kernel::Kernel;
use crate::{klog, kprintln};

impl Kernel {
    /// A pool that cannot have as many pages as asked for has as many as there were, and reports it.
    pub(crate) fn set_huge_pages_aside(&mut self) {
        self.mm.hugetlb.hvo = self.info.args.hvo;
        for (size, count) in &self.info.args.hugepages {
            set_aside(&mut self.mm, *size, *count);
        }
    }
}

fn set_aside(mm: &mut Mm<Arm>, size: u64, count: u64) {
    let order = mm.hugetlb.order_of(size);
    let mut attention = Attention::new(&"huge pages");
    let mut stop = |total: u64| attention.stop(format_args!("{total} of {count}"));
    match order.and_then(|order| mm.hugetlb_resize_unless(order, count, &mut stop)) {
        Ok(Resized { total, stopped: None }) => klog!("huge pages: {total} of {}", Bytes(size)),
        Ok(Resized { total, stopped: Some(error) }) => {
            kprintln!("warning: huge pages: {total} of {}, not {count}: {error}", Bytes(size));
        }
        Err(error) => kprintln!("warning: huge pages: {error}"),
    }
}
