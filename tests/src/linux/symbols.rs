//! Addresses of Linux's functions, from its /proc/kallsyms, and the counter's windows for their calls (tests/counter).

use std::collections::BTreeMap;

/// A function whose calls are counted, and the one that calls it. A name may be several with `|` between them: the first that the
/// kernel has is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The window's name.
    pub window: &'static str,
    /// The function.
    pub function: &'static str,
    /// Its caller.
    pub caller: &'static str,
}

/// What is counted of each kernel.
pub const CALLS: [Call; 4] = [
    // drivers/acpi/scan.c, from drivers/acpi/osl.c: a DIMM is added or removed. One worker runs the caller.
    Call { window: ACPI, function: "acpi_device_hotplug", caller: "acpi_hotplug_work_fn" },
    // drivers/base/memory.c: a memory block goes online or offline.
    Call { window: ONLINE, function: "memory_subsys_online", caller: "device_online" },
    Call { window: OFFLINE, function: "memory_subsys_offline", caller: "device_offline" },
    RESIZE,
];

/// drivers/virtio/virtio_mem.c: a device's requested size has changed.
const RESIZE: Call = Call { window: VIRTIO_MEM, function: "virtio_mem_run_wq", caller: "process_one_work" };

/// What is counted of each kernel in a boot that does nothing else: it allocates all the time.
pub const MORE_CALLS: [Call; 4] = [
    // mm/page_alloc.c, from mm/mempolicy.c: a run of pages is taken for a process or a file. 6.12 and 7.2 have different names.
    Call {
        window: TAKE,
        function: "__alloc_frozen_pages_noprof|__alloc_pages_noprof",
        caller: "alloc_pages_mpol|alloc_pages_mpol_noprof",
    },
    // mm/page_alloc.c, from mm/swap.c: up to 31 runs are freed.
    Call { window: FREE, function: "free_unref_folios", caller: "folios_put_refs" },
    // drivers/base/dd.c, from drivers/base/bus.c: a driver takes the device whose name is written to `bind`.
    Call { window: BIND, function: "device_driver_attach", caller: "bind_store" },
    RESIZE,
];

/// A run of pages is taken.
pub const TAKE: &str = "take";
/// Runs of pages are freed.
pub const FREE: &str = "free";
/// A driver takes a device.
pub const BIND: &str = "bind";
/// A DIMM is added or removed.
pub const ACPI: &str = "acpi";
/// A memory block goes online.
pub const ONLINE: &str = "online";
/// A memory block goes offline.
pub const OFFLINE: &str = "offline";
/// A virtio memory device changes its size.
pub const VIRTIO_MEM: &str = "virtio-mem";
/// What only a kernel has that takes DIMMs by ACPI (CONFIG_ACPI_HOTPLUG_MEMORY).
pub const TAKES_DIMMS: &str = "acpi_memory_device_add";

/// Functions by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    at: BTreeMap<u64, Vec<String>>,
}

impl Symbols {
    /// Reads lines of /proc/kallsyms: `ffff8000800d1048 t process_one_work`. Other lines are left out.
    pub fn read(text: &str) -> Self {
        let mut symbols = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if let Ok(address) = u64::from_str_radix(address, 16) {
                symbols.at.entry(address).or_default().push(name.to_owned());
            }
        }
        symbols
    }

    /// The shell command that prints the lines that are needed, with those that follow them.
    pub fn command() -> String {
        let calls = CALLS.iter().chain(&MORE_CALLS);
        let names = calls.flat_map(|call| [call.function, call.caller]).chain([TAKES_DIMMS]);
        let names = names.collect::<Vec<_>>().join("|");
        format!("grep -A 3 -E ' ({names})([[:space:]]|$)' /proc/kallsyms")
    }

    /// Where a function begins; of several names with `|` between them, that of the first that is there.
    pub fn find(&self, name: &str) -> Option<u64> {
        let find = |name| self.at.iter().find(|(_, names)| names.iter().any(|is| is == name));
        name.split('|').find_map(find).map(|(address, _)| *address)
    }

    /// The plugin's argument that counts a call, or why it cannot.
    ///
    /// # Errors
    /// A sentence that names the missing function.
    pub fn window(&self, call: Call) -> Result<String, String> {
        let find = |name: &str| self.find(name).ok_or_else(|| format!("this kernel has no function {name}"));
        let (entry, from) = (find(call.function)?, find(call.caller)?);
        let next = self.at.range(from + 1..).next();
        let (to, _) = next.ok_or_else(|| format!("nothing follows {} in /proc/kallsyms", call.caller))?;
        Ok(format!("window={}:{entry:x}:{from:x}:{to:x}", call.window))
    }
}

#[cfg(test)]
mod tests {
    use super::{CALLS, MORE_CALLS, Symbols};

    const TEXT: &str = "ffff8000808a2c58 t acpi_hotplug_work_fn\nffff8000808a2c58 t alias\nffff8000808a2cb0 t next\n--\n\
                        ffff8000808a9000 T acpi_device_hotplug\nffff800079e72e98 t virtio_mem_run_wq\t[virtio_mem]\n";

    #[test]
    fn a_window_is_the_function_and_all_of_its_caller() {
        let symbols = Symbols::read(TEXT);
        let window = symbols.window(CALLS[0]);
        assert_eq!(window, Ok("window=acpi:ffff8000808a9000:ffff8000808a2c58:ffff8000808a2cb0".into()));
        assert_eq!(symbols.find("virtio_mem_run_wq"), Some(0xffff_8000_79e7_2e98));
        let either = symbols.find("missing|next|alias");
        assert_eq!(either, Some(0xffff_8000_808a_2cb0), "the first name that is there");
        assert_eq!(symbols.window(CALLS[1]), Err("this kernel has no function memory_subsys_online".into()));
    }

    #[test]
    fn the_command_asks_for_each_function() {
        let command = Symbols::command();
        for call in CALLS.into_iter().chain(MORE_CALLS) {
            assert!(command.contains(call.function) && command.contains(call.caller), "{command}");
        }
    }
}
