//! Requests and answers, as JSON has them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::trace;

/// A request, by its field `do`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(crate) enum Request {
    /// Boot a machine, in place of the one before.
    Boot(Boot),
    /// A line for the shell.
    Line {
        /// One command, or several with `;` between them.
        text: String,
    },
    /// What a VMM does.
    Monitor {
        /// `plug SIZE`, `unplug SLOT`, `virtio-mem NUMBER SIZE`.
        text: String,
    },
    /// The shell's `state`.
    State,
    /// The words that can complete a command.
    Complete {
        /// The command up to the cursor.
        text: String,
    },
    /// A view of the machine.
    View {
        /// `memory`, `vmemmap`, `walk`, `tables`, `page`, `tlb`, `audit`.
        name: String,
        /// What it is a view of: `addr:0x...` or `pfn:0x...`.
        of: Option<String>,
        /// The step of the last line or monitor command after which the machine is looked at; -1: before the first. Without it:
        /// now.
        at: Option<i64>,
    },
    /// The steps of the last line or monitor command.
    Trace,
}

/// The machine to boot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Boot {
    /// Boot arguments, as the kernel takes them.
    pub args: String,
    /// `4k`, `16k` or `64k`; an argument `granule=` wins.
    pub granule: Option<String>,
    /// The size of RAM; 1 GiB.
    pub memory: Option<String>,
    /// The sizes of the RAM of each NUMA node, in place of `memory`.
    pub nodes: Vec<String>,
    /// How many memory slots there are; 8.
    pub slots: Option<u32>,
    /// The sizes of the regions of virtio memory devices.
    pub virtio_mem: Vec<String>,
    /// The sizes of ranges of persistent memory, one behind the other from 256 GiB on, or far above RAM.
    pub pmem: Vec<String>,
    /// Persistent memory lies behind RAM, as scripts/qemu has it, and DIMMs behind it. Otherwise it is far above the DIMMs, which
    /// then have the same addresses with it as without.
    pub pmem_behind_ram: bool,
}

/// An answer.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    pub(crate) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// What the command printed, or the monitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// 0: it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u32>,
    /// The log lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<String>,
    /// Rules of the architecture that were broken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) violations: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) words: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) view: Option<Box<RawValue>>,
    /// Of a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<Vec<trace::Step>>,
    /// Of a trace: the operation failed, and steps were taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) undone: Option<bool>,
    /// Of a trace: the last steps are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truncated: Option<bool>,
}

impl Answer {
    pub(crate) fn error(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }
}
