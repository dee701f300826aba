//! The figures beside Linux's, as text and as JSON.

use super::alloc::{self, Alloc};
use super::audit::{self, Audit};
use super::churn::{self, Churn};
use super::dedup::{self, Shared};
use super::demand::{self, Tebibyte};
use super::linux::{self, BOOT_GOAL, IMAGE_GOAL, Linux, goal, rows};
use super::measure::Life;
use super::migrate::{self, Migrate};
use super::paid::{self, Paid};
use super::resize::{self, Resize};
use hotmap_client::geometry::size_text;
use serde_json::{Value, json};
use std::fmt::Write;

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// 1 GiB, self-hosted, per granule, on the reference CPU.
    pub reference: Vec<Life>,
    /// The same with the memmap in system RAM.
    pub from_ram: Vec<Life>,
    /// 1 GiB, self-hosted, on the CPU with everything.
    pub apart: Vec<Life>,
    /// DIMMs of growing size on the reference CPU.
    pub scaling: Vec<Life>,
    /// 1 GiB with `memmap=demand`, per granule.
    pub on_demand: Vec<Life>,
    /// 1 TiB with `memmap=demand`.
    pub tebibytes: Vec<Tebibyte>,
    /// Runs that are taken and freed on demand.
    pub allocs: Vec<Alloc>,
    /// 1 GiB that is used, with both homes.
    pub churns: Vec<Churn>,
    /// DIMMs of 1 GiB and larger that go offline in use.
    pub migrate: Vec<Migrate>,
    /// Virtio memory devices that request 1 GiB more and less.
    pub resizes: Vec<Resize>,
    /// What a real CPU pays for.
    pub paid: Vec<Paid>,
    /// Audits of large DIMMs on the reference CPU.
    pub audits: Vec<Audit>,
    /// Struct pages that are shared.
    pub shared: Vec<Shared>,
    /// The image file in bytes.
    pub image: u64,
}

fn millions(instructions: u64) -> f64 {
    instructions as f64 / 1e6
}

fn row(text: &mut String, cells: [&str; 9]) {
    let [name, rest @ ..] = cells;
    let _ = write!(text, "{name:<24}");
    for cell in rest {
        let _ = write!(text, " {cell:>9}");
    }
    text.push('\n');
}

fn life_row(text: &mut String, life: &Life, name: &str, goal: &str, ram: &str) {
    let cell = |instructions| format!("{:.3}", millions(instructions));
    let (add, online) = (cell(life.add.instructions), cell(life.online.instructions));
    let (offline, remove) = (cell(life.offline.instructions), cell(life.remove.instructions));
    let (total, boot) = (cell(life.total()), cell(life.boot.instructions));
    row(text, [name, &add, &online, &offline, &remove, &total, goal, ram, &boot]);
}

fn linux_row(text: &mut String, linux: &Linux) {
    let counts = [linux.add, linux.online, linux.offline, linux.remove, linux.life(), linux.boot];
    let [add, online, offline, remove, total, boot] = counts.map(|millions| format!("{millions:.1}"));
    let name = format!("  Linux {}", linux.build);
    let ram = format!("{} kB", linux.ram >> 10);
    row(text, [&name, &add, &online, &offline, &remove, &total, "", &ram, &boot]);
}

/// Linux's instructions divided by hotmap's.
fn ratio_row(text: &mut String, life: &Life, linux: &Linux) {
    let times = |linux: f64, ours: u64| match linux / millions(ours) {
        ratio if ratio < 10.0 => format!("{ratio:.1}x"),
        ratio => format!("{ratio:.0}x"),
    };
    let cells = [
        times(linux.add, life.add.instructions),
        times(linux.online, life.online.instructions),
        times(linux.offline, life.offline.instructions),
        times(linux.remove, life.remove.instructions),
        times(linux.life(), life.total()),
        times(linux.boot, life.boot.instructions),
    ];
    let [add, online, offline, remove, total, boot] = cells.each_ref().map(String::as_str);
    row(text, ["    fewer by", add, online, offline, remove, total, "", "", boot]);
}

impl Results {
    /// One sentence for each missed goal.
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let mut check = |what: String, is: u64, goal: u64| {
            if is > goal {
                missed.push(format!("{what}: {is}, goal {goal}"));
            }
        };
        for life in &self.reference {
            let granule = life.subject.granule;
            check(format!("instructions of a 1 GiB DIMM's life at {granule}"), life.total(), goal(granule));
            check(
                format!("instructions from reset to prompt at {granule}"),
                life.boot.instructions,
                BOOT_GOAL,
            );
            check(format!("table pages of a 1 GiB DIMM at {granule}"), life.tables().unsigned_abs(), 2);
            check(format!("memmap pages in system RAM at {granule}"), life.add.ram.unsigned_abs(), 0);
        }
        for audit in &self.audits {
            let what = format!("instructions of an audit of each GiB at {}", audit.granule);
            check(what, audit.per_gib(), audit::GOAL_PER_GIB);
        }
        check("bytes of the image".into(), self.image, IMAGE_GOAL);
        missed.extend(self.on_demand.iter().flat_map(demand::missed));
        missed.extend(self.tebibytes.iter().flat_map(Tebibyte::missed));
        missed.extend(self.allocs.iter().flat_map(Alloc::missed));
        missed.extend(self.churns.iter().flat_map(Churn::missed));
        missed.extend(migrate::missed(&self.migrate));
        missed.extend(self.paid.iter().flat_map(Paid::missed));
        missed.extend(self.shared.iter().flat_map(Shared::missed));
        missed
    }

    /// The table as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let qemu = self.reference.first().map(|life| life.qemu).unwrap_or_default();
        let cpu = self.reference.first().map(|life| life.subject.cpu).unwrap_or_default();
        let _ = writeln!(
            text,
            "A 1 GiB DIMM's life in millions of guest instructions (-icount, INST_RETIRED: exact)."
        );
        let _ = writeln!(
            text,
            "QEMU {}.{}, CPU {cpu}, self-hosted memmap, firmware boot, 1 GiB of boot RAM.\n{}.\n",
            qemu.0,
            qemu.1,
            linux::source()
        );
        row(&mut text, ["", "add", "online", "offline", "remove", "sum", "goal", "RAM", "boot"]);
        for life in &self.reference {
            let granule = life.subject.granule;
            let goal = format!("{:.3}", millions(goal(granule)));
            let ram = format!("{} kB", life.system_ram() >> 10);
            life_row(&mut text, life, &format!("{granule} hotmap"), &goal, &ram);
            for linux in rows(granule) {
                linux_row(&mut text, &linux);
                ratio_row(&mut text, life, &linux);
            }
        }
        self.homes_text(&mut text);
        self.system_ram_text(&mut text);
        self.scaling_text(&mut text);
        if !self.on_demand.is_empty() {
            text.push_str(&demand::text(&self.on_demand, &self.tebibytes));
            text.push_str(&alloc::text(&self.allocs));
            text.push_str(&churn::text(&self.churns));
        }
        if !self.migrate.is_empty() {
            text.push_str(&migrate::text(&self.migrate));
        }
        if !self.resizes.is_empty() {
            text.push_str(&resize::text(&self.resizes));
        }
        self.audits_text(&mut text);
        self.apart_text(&mut text);
        if !self.paid.is_empty() {
            text.push_str(&paid::text(&self.paid));
        }
        if !self.shared.is_empty() {
            text.push_str(&dedup::text(&self.shared));
        }
        self.image_text(&mut text);
        text
    }

    /// Where Linux's memmap is not where hotmap's is.
    fn homes_text(&self, text: &mut String) {
        for linux in self.reference.iter().flat_map(|life| rows(life.subject.granule)) {
            if !linux.is_self_hosted {
                let _ = writeln!(
                    text,
                    "Linux {}: memmap in system RAM, since it removes no self-hosted DIMM.",
                    linux.build
                );
            }
        }
    }

    fn system_ram_text(&self, text: &mut String) {
        text.push_str("\nSystem RAM that the DIMM costs while it is there (table pages; memmap pages):\n");
        for life in self.reference.iter().chain(&self.from_ram) {
            let subject = life.subject;
            let rows =
                if life.add.ram == 0 { rows(subject.granule) } else { linux::rows_in_ram(subject.granule) };
            let rows = rows.iter().filter(|row| row.is_self_hosted == (life.add.ram == 0));
            let linux: Vec<String> =
                rows.map(|linux| format!("Linux {} {} kB", linux.build, linux.ram >> 10)).collect();
            let linux = if linux.is_empty() { String::new() } else { format!("   ({})", linux.join(", ")) };
            let home = if life.add.ram == 0 { "self-hosted" } else { "in system RAM" };
            let (kib, tables) = (life.system_ram() >> 10, life.tables());
            let _ = writeln!(
                text,
                "{:<4} {home:<14} {kib:>6} kB  ({tables}; {}){linux}",
                subject.granule.name(),
                life.add.ram
            );
        }
    }

    fn scaling_text(&self, text: &mut String) {
        text.push_str("\nHow add grows (millions of guest instructions):\n");
        for life in &self.scaling {
            let (granule, size) = (life.subject.granule, life.subject.size);
            let per_gib = millions(life.add.instructions) / (size as f64 / (1_u64 << 30) as f64);
            let (add, total) = (millions(life.add.instructions), millions(life.total()));
            let _ = writeln!(
                text,
                "{:<4} {:>3}   add {add:>7.3}   per GiB {per_gib:.3}   whole life {total:>7.3}   table pages {}",
                granule.name(),
                size_text(size),
                life.tables()
            );
        }
    }

    fn audits_text(&self, text: &mut String) {
        if self.audits.is_empty() {
            return;
        }
        text.push_str("\nAn audit of a large self-hosted DIMM (millions of guest instructions):\n");
        self.audits.iter().for_each(|audit| text.extend([audit.text().as_str(), "\n"]));
    }

    fn apart_text(&self, text: &mut String) {
        let Some(first) = self.apart.first() else { return };
        let note = if first.uses_mops() {
            "FEAT_MOPS clears memory in next to no instructions"
        } else {
            "no FEAT_MOPS in this QEMU"
        };
        let _ = writeln!(
            text,
            "\nApart, CPU {} ({note}; memory is cleared by {}):",
            first.subject.cpu, first.clears_by
        );
        for life in &self.apart {
            life_row(
                text,
                life,
                &format!("{} hotmap", life.subject.granule),
                "",
                &format!("{} kB", life.system_ram() >> 10),
            );
        }
    }

    fn image_text(&self, text: &mut String) {
        let linux =
            linux::images().iter().map(|bytes| format!("{:.1} MB", *bytes as f64 / 1e6)).collect::<Vec<_>>();
        let (image, goal) = (self.image as f64 / 1024.0, IMAGE_GOAL >> 10);
        let _ = writeln!(text, "\nImage: {image:.0} KiB (goal {goal} KiB; Linux {})", linux.join(", "));
        match self.missed().as_slice() {
            [] => text.push_str("Every goal is met.\n"),
            missed => missed.iter().for_each(|sentence| {
                let _ = writeln!(text, "MISSED  {sentence}");
            }),
        }
    }

    /// The same as JSON; counts are instructions, bytes and pages.
    pub fn json(&self) -> Value {
        json!({
            "unit": "guest instructions",
            "image_bytes": self.image,
            "goals": { "image_bytes": IMAGE_GOAL, "boot": BOOT_GOAL },
            "reference": self.reference.iter().map(life_json).collect::<Vec<_>>(),
            "memmap_in_ram": self.from_ram.iter().map(life_json).collect::<Vec<_>>(),
            "apart": self.apart.iter().map(life_json).collect::<Vec<_>>(),
            "on_demand": self.on_demand.iter().map(life_json).collect::<Vec<_>>(),
            "tebibytes": self.tebibytes.iter().map(Tebibyte::json).collect::<Vec<_>>(),
            "allocs": self.allocs.iter().map(Alloc::json).collect::<Vec<_>>(),
            "churns": self.churns.iter().map(Churn::json).collect::<Vec<_>>(),
            "migrate": self.migrate.iter().map(migrate::json).collect::<Vec<_>>(),
            "resizes": self.resizes.iter().map(Resize::json).collect::<Vec<_>>(),
            "shared": self.shared.iter().map(Shared::json).collect::<Vec<_>>(),
            "paid": self.paid.iter().map(paid::json).collect::<Vec<_>>(),
            "audits": self.audits.iter().map(Audit::json).collect::<Vec<_>>(),
            "scaling": self.scaling.iter().map(life_json).collect::<Vec<_>>(),
            "linux": linux::record(),
            "missed": self.missed(),
        })
    }
}

fn life_json(life: &Life) -> Value {
    json!({
        "granule": life.subject.granule.bytes(),
        "cpu": life.subject.cpu,
        "qemu": format!("{}.{}", life.qemu.0, life.qemu.1),
        "dimm_bytes": life.subject.size,
        "clears_by": life.clears_by,
        "boot": life.boot.instructions,
        "add": life.add.instructions,
        "online": life.online.instructions,
        "offline": life.offline.instructions,
        "remove": life.remove.instructions,
        "sum": life.total(),
        "goal": goal(life.subject.granule),
        "table_pages": life.tables(),
        "memmap_pages_in_ram": life.add.ram,
        "system_ram_bytes": life.system_ram(),
    })
}

#[cfg(test)]
mod tests;
