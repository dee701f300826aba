//! A machine, as typed options of `scripts/qemu`.
//!
//! The script has the defaults (slots, semihosting, console); a test names what it needs.

use crate::geometry::Granule;
use std::path::PathBuf;

/// The two ways into the same image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// `-bios`: from flash at address 0; the machine has a GED and DIMM registers.
    Firmware,
    /// `-kernel`: the arm64 Image protocol, no DIMMs.
    Image,
}

/// Every boot way.
pub const BOOTS: [Boot; 2] = [Boot::Image, Boot::Firmware];

impl Boot {
    /// As `state` and `scripts/qemu` name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Image => "image",
        }
    }
}

/// The exception level at which the kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The default of `virt`.
    El1,
    /// `virtualization=on`.
    El2,
    /// `secure=on`, firmware boot.
    El3,
}

/// How the guest gives its exit status: `--exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The script's default.
    Semihosting,
    /// A virtio console on PCI, with QEMU's testdev behind it.
    Testdev,
    /// The same as a `virtio,mmio` device.
    TestdevMmio,
}

/// Every channel.
pub const CHANNELS: [Channel; 3] = [Channel::Semihosting, Channel::Testdev, Channel::TestdevMmio];

impl Channel {
    /// As `scripts/qemu` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Semihosting => "semihosting",
            Self::Testdev => "testdev",
            Self::TestdevMmio => "testdev-mmio",
        }
    }

    /// QEMU's own status for the guest's.
    pub const fn qemus(self, status: i32) -> i32 {
        match self {
            Self::Semihosting => status,
            Self::Testdev | Self::TestdevMmio => 2 * status + 1,
        }
    }
}

/// One configuration of `scripts/qemu`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `granule=`; `None` leaves the kernel's default.
    pub granule: Option<Granule>,
    /// The boot way.
    pub boot: Boot,
    /// The entry level.
    pub entry: Entry,
    /// QEMU's CPU model; `None` leaves the script's default.
    pub cpu: Option<String>,
    /// Boot RAM as QEMU writes sizes; `None` leaves the script's default.
    pub memory: Option<String>,
    /// Boot RAM plus all memory that can be plugged.
    pub maxmem: Option<String>,
    /// Number of CPUs.
    pub smp: Option<u32>,
    /// Interrupt controller version, 2 or 3.
    pub gic: Option<u32>,
    /// False removes the ACPI devices, and with them the DIMM registers.
    pub acpi: bool,
    /// Count instructions exactly.
    pub icount: bool,
    /// Memory that the device tree calls hotpluggable, above boot RAM.
    pub hotpluggable: Option<String>,
    /// Persistent memory above that.
    pub pmem: Option<String>,
    /// The file that has its contents.
    pub pmem_file: Option<PathBuf>,
    /// The device tree calls it volatile.
    pub pmem_volatile: bool,
    /// Virtio memory devices, as `scripts/qemu --virtio-mem` takes them.
    pub virtio_mem: Vec<String>,
    /// Where the first serial port goes, as `scripts/qemu --serial` takes it; `None` is stdio.
    pub serial: Option<String>,
    /// The way of the exit status.
    pub exit: Channel,
    /// Boot arguments besides `granule=`.
    pub append: String,
    /// The image; `None` leaves the one that `HOTMAP_IMAGE` names, or the built one.
    pub kernel: Option<PathBuf>,
    /// The path of `scripts/qemu`; `None` is the one of [`crate::qemu::root`].
    pub launcher: Option<PathBuf>,
    /// QEMU's own arguments.
    pub extra: Vec<String>,
}

impl Machine {
    /// A firmware boot with the script's defaults.
    pub fn firmware() -> Self {
        Self {
            granule: None,
            boot: Boot::Firmware,
            entry: Entry::El1,
            cpu: None,
            memory: None,
            maxmem: None,
            smp: None,
            gic: None,
            acpi: true,
            icount: false,
            hotpluggable: None,
            pmem: None,
            pmem_file: None,
            pmem_volatile: false,
            virtio_mem: Vec::new(),
            serial: None,
            exit: Channel::Semihosting,
            append: String::new(),
            kernel: None,
            launcher: None,
            extra: Vec::new(),
        }
    }

    /// An Image boot with the script's defaults.
    pub fn image() -> Self {
        Self { boot: Boot::Image, ..Self::firmware() }
    }

    /// The boot way named by value.
    pub fn by(boot: Boot) -> Self {
        Self { boot, ..Self::firmware() }
    }

    /// With this granule.
    #[must_use]
    pub fn granule(mut self, granule: Granule) -> Self {
        self.granule = Some(granule);
        self
    }

    /// With this CPU model.
    #[must_use]
    pub fn cpu(mut self, cpu: &str) -> Self {
        self.cpu = Some(cpu.into());
        self
    }

    /// With this much boot RAM, e.g. `512M`.
    #[must_use]
    pub fn memory(mut self, memory: &str) -> Self {
        self.memory = Some(memory.into());
        self
    }

    /// With this much room for DIMMs.
    #[must_use]
    pub fn maxmem(mut self, maxmem: &str) -> Self {
        self.maxmem = Some(maxmem.into());
        self
    }

    /// With one more virtio memory device.
    #[must_use]
    pub fn virtio_mem(mut self, device: &str) -> Self {
        self.virtio_mem.push(device.to_owned());
        self
    }

    /// With one more boot argument.
    #[must_use]
    pub fn append(mut self, argument: &str) -> Self {
        if !self.append.is_empty() {
            self.append.push(' ');
        }
        self.append.push_str(argument);
        self
    }

    /// With framed replies, and without a prompt: `script=on`.
    #[must_use]
    pub fn framed(self) -> Self {
        self.append("script=on")
    }

    /// With more of QEMU's own arguments.
    #[must_use]
    pub fn extra<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.extra.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// The arguments for `scripts/qemu`, without `--qmp`. TCG on every host: the tests rely on what it emulates, and on its
    /// counts of instructions.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = ["--accel", "tcg"].map(str::to_owned).to_vec();
        arguments.push(format!("--{}", self.boot.name()));
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), value]);
            }
        };
        option("--granule", self.granule.map(|granule| granule.name().to_owned()));
        option("--cpu", self.cpu.clone());
        option("--memory", self.memory.clone());
        option("--maxmem", self.maxmem.clone());
        option("--smp", self.smp.map(|count| count.to_string()));
        option("--gic", self.gic.map(|version| version.to_string()));
        option("--hotpluggable", self.hotpluggable.clone());
        option("--pmem", self.pmem.clone());
        option("--pmem-file", self.pmem_file.as_ref().map(|path| path.display().to_string()));
        for device in &self.virtio_mem {
            option("--virtio-mem", Some(device.clone()));
        }
        option("--serial", self.serial.clone());
        option("--exit", Some(self.exit.name().to_owned()).filter(|_| self.exit != Channel::Semihosting));
        option("--append", Some(self.append.clone()).filter(|append| !append.is_empty()));
        arguments.extend(self.flags().into_iter().map(str::to_owned));
        arguments
    }

    /// The shell command that starts it.
    pub fn command(&self) -> String {
        let mut words = vec!["scripts/qemu".to_owned()];
        words.extend(self.arguments());
        if !self.extra.is_empty() {
            words.push("--".into());
            words.extend(self.extra.iter().cloned());
        }
        let quote =
            |word: &String| if word.contains([' ', '"']) { format!("'{word}'") } else { word.clone() };
        words.iter().map(quote).collect::<Vec<_>>().join(" ")
    }

    fn flags(&self) -> Vec<&'static str> {
        let mut flags = Vec::new();
        match self.entry {
            Entry::El1 => {}
            Entry::El2 => flags.push("--el2"),
            Entry::El3 => flags.push("--el3"),
        }
        if !self.acpi {
            flags.push("--acpi-off");
        }
        if self.pmem_volatile {
            flags.push("--pmem-volatile");
        }
        if self.icount {
            flags.push("--icount");
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Entry, Machine};
    use crate::geometry::Granule;

    #[test]
    fn the_default_machine_names_only_its_boot_way() {
        assert_eq!(Machine::firmware().arguments(), ["--accel", "tcg", "--firmware"]);
        assert_eq!(Machine::image().arguments(), ["--accel", "tcg", "--image"]);
    }

    #[test]
    fn the_command_can_be_typed() {
        let machine = Machine::image().append("run=\"a; b\"").extra(["-initrd", "x"]);
        assert_eq!(
            machine.command(),
            "scripts/qemu --accel tcg --image --append 'run=\"a; b\"' -- -initrd x"
        );
    }

    #[test]
    fn every_field_becomes_an_option() {
        let machine = Machine {
            entry: Entry::El2,
            smp: Some(4),
            gic: Some(2),
            acpi: false,
            icount: true,
            hotpluggable: Some("1G".into()),
            pmem: Some("64M".into()),
            pmem_file: Some("a/b".into()),
            pmem_volatile: true,
            virtio_mem: vec!["4G,requested=1G".into(), "2G".into()],
            serial: Some("null".into()),
            exit: Channel::TestdevMmio,
            ..Machine::firmware()
        };
        let machine = machine.granule(Granule::K16).cpu("max").memory("2G").maxmem("8G");
        let machine = machine.append("memmap=ram").append("run=\"selftest; audit\"");
        let should = "--accel tcg --firmware --granule 16k --cpu max --memory 2G --maxmem 8G --smp 4 --gic 2 \
                      --hotpluggable 1G --pmem 64M --pmem-file a/b \
                      --virtio-mem 4G,requested=1G --virtio-mem 2G --serial null --exit testdev-mmio --append";
        let mut should: Vec<String> = should.split(' ').map(str::to_owned).collect();
        should.push("memmap=ram run=\"selftest; audit\"".into());
        should.extend(["--el2", "--acpi-off", "--pmem-volatile", "--icount"].map(str::to_owned));
        assert_eq!(machine.arguments(), should);
    }
}
