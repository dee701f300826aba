//! Tenants: every page of a tenant is mapped once, to a frame that is a tenant's and knows its address (I3); every frame
//! that is a tenant's is mapped where it says.

use super::{Auditor, Offender};
use crate::addr::{VirtAddr, VirtRange};
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::pfn::Pfn;

impl<M: Machine> Auditor<'_, M> {
    /// The tenants' addresses are all mapped.
    pub(super) fn tenants(&mut self) {
        let g = self.mm.granule();
        let expected = self.mm.tenants().iter().map(|t| t.range.len() >> g.page_shift).sum();
        let found = self.ledger.used.pages(PageKind::Tenant);
        let what = "pages mapped for tenants differ from what the tenants have";
        self.find_unless(found == expected, 3, what, Offender::Count { found, expected });
    }

    /// A leaf in the tenants' area.
    pub(super) fn tenant_leaf(&mut self, span: VirtRange, pfn: Pfn) {
        let g = self.mm.granule();
        let at = Offender::Mapping { va: span.start, pfn };
        self.ledger.used.add(PageKind::Tenant, pfn, span.len() >> g.page_shift);
        let owned = self.tenant_has(span);
        self.find_unless(owned, 3, "a mapping in the tenants' area that is no tenant's", at);
        let says = self.page(pfn).map(|page| (page.kind(), page.private(), page.refs()));
        match says {
            Some((PageKind::Tenant, private, refs)) => {
                let right = private == span.start.get();
                self.find_unless(right, 3, "a tenant's page does not know the address that maps it", at);
                self.find_unless(refs != 0, 3, "a tenant's page without a reference", at);
            }
            Some((kind, ..)) => self.find(3, "the frame of a tenant's page", Offender::Page { pfn, kind }),
            None => self.find(3, "the frame of a tenant's page is not present", at),
        }
    }

    /// Tenants are sorted by address.
    fn tenant_has(&self, span: VirtRange) -> bool {
        let tenants = self.mm.tenants();
        let after = tenants.partition_point(|t| t.range.start <= span.start);
        after.checked_sub(1).is_some_and(|i| tenants[i].range.covers(&span))
    }

    /// A head, when it is a tenant's: the address that it names maps it.
    pub(super) fn tenant_head(&mut self, pfn: Pfn, kind: PageKind) {
        let g = self.mm.granule();
        if kind != PageKind::Tenant {
            return;
        }
        let va = VirtAddr::new(self.page(pfn).map_or(0, crate::frame::page::Page::private));
        let inside = crate::layout::TENANTS.contains(va);
        let mapped = inside.then(|| self.mm.space.translate(va)).flatten();
        let right = mapped == Some(pfn.address(g));
        self.find_unless(
            right,
            3,
            "a tenant's page is not mapped at its address",
            Offender::Mapping { va, pfn },
        );
    }
}
