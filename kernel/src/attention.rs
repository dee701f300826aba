//! The console while memory goes offline: Ctrl-C ends it, what else is typed waits for the prompt, and an offline that takes
//! long says how far it is.

use core::fmt;

use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use hotmap_mm::pfn::PfnRange;

use crate::{console, klog};

/// The time between two lines about one offline, in seconds.
const SECONDS: u64 = 2;

/// An offline that the console can end.
pub struct Attention<'a> {
    /// What the lines begin with.
    subject: &'a dyn fmt::Display,
    /// How many pages are to migrate.
    pages: u64,
    /// When it began, or said the last line.
    since: u64,
}

#[cfg(target_os = "none")]
fn ticks() -> u64 {
    crate::arch::counter::ticks()
}
#[cfg(target_os = "none")]
fn ticks_per_second() -> u64 {
    crate::arch::counter::ticks_per_second()
}
#[cfg(not(target_os = "none"))]
fn ticks() -> u64 {
    0
}
#[cfg(not(target_os = "none"))]
fn ticks_per_second() -> u64 {
    1
}

impl<'a> Attention<'a> {
    /// For an offline of `pages`, which begins now.
    pub fn new<M: Machine>(subject: &'a dyn fmt::Display, mm: &Mm<M>, pages: PfnRange) -> Self {
        Self { subject, pages: mm.frames().tenant_pages(pages), since: ticks() }
    }

    /// Whether Ctrl-C was typed: what `Mm::offline_pages_unless` asks once `migrated` pages have migrated.
    pub fn stop(&mut self, migrated: u64) -> bool {
        let now = ticks();
        if now.wrapping_sub(self.since) >= SECONDS * ticks_per_second() {
            self.since = now;
            klog!("{}: {migrated} of {} pages have migrated", self.subject, self.pages);
        }
        console::interrupted()
    }
}
