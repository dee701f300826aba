//! What is measured of a kernel, in which order: one boot to find its functions, one for each home of the memmap, one in which the
//! allocator clears nothing, and one with an NVDIMM of 1 TiB.

use super::dimm::{self, Life};
use super::guest::{CPU, Linux, Setup, VIRTIO_MEM_DRIVER, symbols};
use super::kernels::{Kernel, Kernels};
use super::record::{Column, Home, Operation, Part, Row, Value};
use super::symbols::{CALLS, Call, MORE_CALLS, Symbols, TAKES_DIMMS};
use super::{alloc, dax, resize};
use crate::bench::costs::Costs;
use crate::bench::dedup::{self, What};
use crate::bench::demand::TIB;
use hotmap_client::error::{Checked, During, Error, failed};
use hotmap_client::geometry::{GIB, size_text};
use hotmap_client::run::Run;
use std::path::Path;

/// Sizes of the larger DIMMs.
pub const SIZES: [u64; 3] = [2 * GIB, 4 * GIB, 8 * GIB];
/// How often a DIMM is plugged and unplugged.
pub const CYCLES: usize = 100;

/// A kernel that is being measured.
#[derive(Debug)]
pub struct Plan<'a> {
    /// What there is.
    pub kernels: &'a Kernels,
    /// Which of them.
    pub kernel: &'a Kernel,
    /// The counter.
    pub plugin: &'a Path,
    /// What was measured.
    pub column: Column,
    /// What could not be measured although it should have been, and why.
    pub missing: Vec<String>,
}

impl<'a> Plan<'a> {
    /// Nothing is measured yet.
    pub fn new(kernels: &'a Kernels, kernel: &'a Kernel, plugin: &'a Path) -> Self {
        let column = Column {
            name: kernel.name.clone(),
            package: kernel.package.clone(),
            version: kernel.version.clone(),
            sha256: kernel.sha256.clone(),
            ..Column::default()
        };
        Self { kernels, kernel, plugin, column, missing: Vec::new() }
    }

    /// Measures all that the kernel can do. What fails is in `missing`.
    pub fn measure(&mut self) {
        self.say("boot, to find its functions");
        match self.find_symbols() {
            Ok(symbols) => {
                let full =
                    self.try_to("memmap in the DIMM", |plan| plan.boot(&symbols, Home::SelfHosted, false));
                self.try_to("memmap in system RAM", |plan| {
                    plan.boot(&symbols, Home::Ram, full == Some(true))
                });
                self.try_to("runs of pages, a device of 1 GiB", |plan| plan.boot_uncleared(&symbols));
                self.try_to("a device of 1 TiB", |plan| plan.boot_with_nvdimm(&symbols));
            }
            Err(error) => self.lack("boot", &error),
        }
    }

    fn say(&self, what: &str) {
        eprintln!("bench-linux: Linux {}: {what}", self.kernel.name);
    }

    fn lack(&mut self, what: &str, error: &Error) {
        let sentence = format!("Linux {}: {what}: {error}", self.kernel.name);
        eprintln!("bench-linux: error: {sentence}");
        self.missing.push(sentence);
    }

    fn try_to<T>(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Checked<T>) -> Option<T> {
        self.say(what);
        match work(self) {
            Ok(result) => Some(result),
            Err(error) => {
                self.lack(what, &error);
                None
            }
        }
    }

    fn setup(&self, self_hosted: bool) -> Setup<'a> {
        Setup {
            kernels: self.kernels,
            kernel: self.kernel,
            self_hosted,
            counter: None,
            drivers: VIRTIO_MEM_DRIVER,
            parameters: "",
            more: Vec::new(),
        }
    }

    /// A boot in which nothing is counted: the functions that the next ones count, and what becomes of a DIMM of 1 TiB.
    fn find_symbols(&mut self) -> Checked<Symbols> {
        let mut setup = self.setup(true);
        setup.more = ["-m", "1G,slots=8,maxmem=2T"].map(str::to_owned).to_vec();
        let run = Run::new("linux")?;
        let mut linux = Linux::boot(&run, &setup)?;
        let symbols = symbols(&mut linux)?;
        for call in CALLS.into_iter().chain(MORE_CALLS) {
            if let Err(why) = symbols.window(call) {
                self.say(&why);
            }
        }
        self.try_to("a DIMM of 1 TiB", |plan| plan.plug_tebibyte(&mut linux, &symbols));
        Ok(symbols)
    }

    /// A DIMM of 1 TiB, after which the kernel is no more.
    fn plug_tebibyte(&mut self, linux: &mut Linux, symbols: &Symbols) -> Checked {
        let why = match symbols.find(TAKES_DIMMS) {
            Some(_) => dimm::plug_too_large(linux, TIB)?,
            None => takes_none(),
        };
        for operation in [Operation::Plug, Operation::Unplug] {
            let row = Row::new(Part::Tebibyte, Home::Any, TIB, operation);
            self.column.add(row, Value::Cannot(why.clone()));
        }
        Ok(())
    }

    fn counter(&self, symbols: &Symbols, calls: &[Call]) -> Option<(&'a Path, Vec<String>)> {
        Some((self.plugin, calls.iter().filter_map(|call| symbols.window(*call).ok()).collect()))
    }

    /// Boots with the memmap at `home`. `widened`: larger DIMMs and DIMMs in use are measured already. Returns whether they are now.
    fn boot(&mut self, symbols: &Symbols, home: Home, widened: bool) -> Checked<bool> {
        let takes_dimms = symbols.find(TAKES_DIMMS).is_some();
        if !takes_dimms {
            let life = Life { steps: vec![(Operation::Add, Err(takes_none()))], ram: None };
            life.write(&mut self.column, Part::Life, home, GIB);
            if home == Home::SelfHosted {
                return Ok(false);
            }
        }
        let counter = self.counter(symbols, &CALLS);
        let run = Run::new("linux")?;
        let mut linux = Linux::boot(&run, &Setup { counter, ..self.setup(home == Home::SelfHosted) })?;
        self.guest(&mut linux)?;
        let mut wide = widened;
        if takes_dimms {
            let life = dimm::live(&mut linux, "d1", GIB)?;
            life.write(&mut self.column, Part::Life, home, GIB);
            if let Some(empty) = life.cost(Operation::Offline).filter(|_| life.sum().is_some() && !widened) {
                self.widen(&mut linux, empty)?;
                wide = true;
            }
        }
        if home == Home::Ram {
            self.virtio_mem(&mut linux, symbols, [Operation::Up, Operation::Down].map(Some));
        }
        Ok(wide)
    }

    /// A boot in which the allocator clears nothing, as hotmap's does: runs of pages, a device, virtio memory.
    fn boot_uncleared(&mut self, symbols: &Symbols) -> Checked {
        let run = Run::new("linux")?;
        let counter = self.counter(symbols, &MORE_CALLS);
        let setup = Setup { counter, parameters: "init_on_alloc=0", ..self.setup(false) };
        let mut linux = Linux::boot(&run, &dax::with_nvdimm(setup, GIB))?;
        linux.settle(30)?;
        // First, for its driver has to be where it was in the boot before.
        self.virtio_mem(&mut linux, symbols, [None, Some(Operation::DownUncleared)]);
        alloc::measure(&mut linux, &mut self.column).during("runs of pages")?;
        dax::measure(&mut linux, &mut self.column, GIB).during("a device")
    }

    fn boot_with_nvdimm(&mut self, symbols: &Symbols) -> Checked {
        let run = Run::new("linux")?;
        let setup = Setup { counter: self.counter(symbols, &MORE_CALLS), ..self.setup(false) };
        let mut linux = Linux::boot(&run, &dax::with_nvdimm(setup, TIB))?;
        dax::measure(&mut linux, &mut self.column, TIB)
    }

    /// The kernel's own figures.
    fn guest(&mut self, linux: &mut Linux) -> Checked {
        linux.settle(30)?;
        if self.column.granule != 0 {
            return Ok(());
        }
        let pages = linux.tell("grep KernelPageSize /proc/self/smaps | head -n 1")?;
        let kib: Option<u64> = pages.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        let Some(kib) = kib else { return failed(format!("/proc/self/smaps: {pages}")) };
        self.column.granule = kib << 10;
        let marks = linux.seen()?.marks;
        let Some(boot) = marks.values().next() else { return failed("the counter saw no mark of init") };
        self.column.add(Row::guest(Operation::Boot), Value::Costs(*boot));
        let image = std::fs::metadata(&self.kernel.image);
        let image =
            image.map_err(|error| Error::Unknown(format!("{}: {error}", self.kernel.image.display())))?;
        self.column.add(Row::guest(Operation::Image), Value::Size(image.len()));
        let used = GIB.saturating_sub(linux.free()?);
        self.column.add(Row::guest(Operation::Used), Value::Size(used));
        let sharing = linux.ask("cat /proc/sys/vm/hugetlb_optimize_vmemmap")?;
        let why =
            if sharing.failed { "the kernel has no hugetlb_optimize_vmemmap" } else { "not measured here" };
        let sizes = dedup::rows().into_iter().filter_map(|(granule, cpu, what)| match what {
            What::HugePage { bytes, .. } if cpu == CPU && granule.bytes() == self.column.granule => {
                Some(bytes)
            }
            _ => None,
        });
        for bytes in sizes.collect::<Vec<_>>() {
            let row = Row::new(Part::HugePage, Home::Any, bytes, Operation::Optimise);
            self.column.add(row, Value::Cannot(why.into()));
        }
        Ok(())
    }

    /// Larger DIMMs, a DIMM again and again, a DIMM in use.
    fn widen(&mut self, linux: &mut Linux, empty: Costs) -> Checked {
        for size in SIZES {
            self.say(&format!("a DIMM of {}", size_text(size)));
            let life = dimm::live(linux, &format!("g{}", size >> 30), size)?;
            life.write(&mut self.column, Part::Growth, Home::Any, size);
        }
        self.say(&format!("{CYCLES} cycles of plug and unplug"));
        let mut cycles = Vec::new();
        for cycle in 0..CYCLES {
            let life = dimm::live(linux, &format!("c{cycle}"), GIB)?;
            let Some(sum) = life.sum() else {
                return failed(life.why().unwrap_or_default()).during("cycles");
            };
            cycles.push(sum);
        }
        for (operation, sum) in
            [Operation::First, Operation::Last].into_iter().zip([cycles.first(), cycles.last()])
        {
            let row = Row::new(Part::Cycles, Home::Any, GIB, operation);
            sum.into_iter().for_each(|sum| self.column.add(row, Value::Costs(*sum)));
        }
        self.say("512 MiB of a DIMM in use go offline");
        dimm::load(linux, &mut self.column, empty).during("a DIMM in use")
    }

    /// Virtio memory up and down: the rows that have what each costs.
    fn virtio_mem(&mut self, linux: &mut Linux, symbols: &Symbols, rows: [Option<Operation>; 2]) {
        let row = |operation| Row::new(Part::Resize, Home::Ram, GIB, operation);
        if self.kernel.driver("virtio_mem").is_none() {
            for operation in rows.into_iter().flatten() {
                let why = Value::Cannot("there is no virtio_mem.ko.xz of this kernel".into());
                self.column.add(row(operation), why);
            }
            return;
        }
        let measured = self.try_to("1 GiB of virtio memory", |_| resize::measure(linux, symbols));
        for (operation, costs) in rows.into_iter().zip(measured.into_iter().flatten()) {
            operation.into_iter().for_each(|operation| self.column.add(row(operation), Value::Costs(costs)));
        }
    }
}

fn takes_none() -> String {
    format!("the kernel takes no DIMMs: it has no function {TAKES_DIMMS}")
}
