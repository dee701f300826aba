//! Runs of pages in a range, read by their heads: a run costs one struct page, however long it is.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::owner::{Head, Phase, Use, head_of, use_without_head};
use crate::struct_pages::{self, StructPages};

/// Neighbouring runs that are alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Run {
    /// The first page.
    pub first_pfn: u64,
    /// Pages of all of them.
    pub pages: u64,
    /// What they are used for.
    #[serde(rename = "use")]
    pub used_for: Use,
    /// The kind that their heads say: `Free`, `MemmapSelf`, ...; `null` where there is no head.
    pub kind: Option<&'static str>,
    /// log2 of the pages of one run; `null` where there is no head.
    pub order: Option<u32>,
    /// How many runs there are.
    pub count: u64,
    /// References that each head holds; `null` where there is no head.
    pub refs: Option<u64>,
}

/// The runs of a range, and the pages of each use.
#[derive(Default)]
pub(crate) struct Runs {
    pub runs: Vec<Run>,
    pub totals: BTreeMap<Use, u64>,
    /// Whether each struct page was read that says something.
    pub exact: bool,
}

impl Runs {
    fn push(&mut self, run: Run) {
        *self.totals.entry(run.used_for).or_default() += run.pages;
        let alike = |last: &&mut Run| {
            (last.used_for, last.kind, last.order, last.refs) == (run.used_for, run.kind, run.order, run.refs)
        };
        match self.runs.last_mut().filter(alike) {
            Some(last) => {
                last.pages += run.pages;
                last.count += run.count;
            }
            None => self.runs.push(run),
        }
    }

    /// One run of pages without heads.
    pub(crate) fn push_plain(&mut self, first_pfn: u64, pages: u64, used_for: Use) {
        if pages > 0 {
            self.push(Run { first_pfn, pages, used_for, kind: None, order: None, count: 1, refs: None });
        }
    }

    fn push_head(&mut self, first_pfn: u64, pages: u64, head: &Head, phase: Phase) {
        let used_for = phase.in_run(head.kind.used_for);
        self.push(Run {
            first_pfn,
            pages,
            used_for,
            kind: Some(head.kind.name),
            order: Some(head.order),
            count: 1,
            refs: Some(head.refs),
        });
    }

    /// One run instead of all: the use, if there is but one, or several.
    pub(crate) fn fold(&mut self) {
        let (Some(first), Some(last)) = (self.runs.first(), self.runs.last()) else { return };
        let (first_pfn, pages) = (first.first_pfn, last.first_pfn + last.pages - first.first_pfn);
        let used_for = if self.totals.len() == 1 { first.used_for } else { Use::Mixed };
        let count = self.runs.iter().map(|run| run.count).sum();
        self.runs = vec![Run { first_pfn, pages, used_for, kind: None, order: None, count, refs: None }];
    }
}

/// Reads the runs of `start..end`, pages of one block or device. Ends for any struct pages: each turn passes a page.
pub(crate) fn read(pages: &StructPages<'_, '_>, start: u64, end: u64, phase: Phase) -> Runs {
    if phase == Phase::Uninitialised {
        return read_nothing(pages, start, end);
    }
    let mut runs = Runs { exact: true, ..Runs::default() };
    let mut at = start;
    while at < end {
        let page = match pages.get(at) {
            Ok(page) => page,
            Err(_) if pages.is_spent() => {
                runs.exact = false;
                runs.push_plain(
                    at,
                    end - at,
                    if phase == Phase::Offline { Use::Offline } else { Use::Mixed },
                );
                return runs;
            }
            Err(_) => {
                runs.push_plain(at, 1, Use::Unreadable);
                at += 1;
                continue;
            }
        };
        // An ordered tail: the compound page began in an earlier block.
        let head =
            if page.kind() == 0 && page.order() > 0 { head_of(pages, at) } else { Head::at(at, &page) };
        if let Some(head) = head {
            let next = head.end().min(end);
            runs.push_head(at, next - at, &head, phase);
            at = next;
            continue;
        }
        runs.push_plain(at, 1, use_without_head(pages, at, &page, phase));
        at += 1;
    }
    runs
}

/// The pages of `start..end` by whether vmemmap has memory for their struct pages, which say nothing yet.
fn read_nothing(pages: &StructPages<'_, '_>, start: u64, end: u64) -> Runs {
    let mut runs = Runs { exact: true, ..Runs::default() };
    let mut at = start;
    while at < end {
        let translated = pages.address(at).map(|va| (va, pages.translate(va)));
        let (count, used_for) = match translated {
            Some((va, Ok(found))) => {
                let left = (found.va + found.size - va) / struct_pages::BYTES as u64;
                (left.clamp(1, end - at), Use::Uninitialised)
            }
            _ => (1, Use::Unreadable),
        };
        runs.push_plain(at, count, used_for);
        at += count;
    }
    runs
}
