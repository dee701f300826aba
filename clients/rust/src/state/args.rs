//! The boot arguments in effect, in `state`: docs/reference/boot-arguments.md explains each.

use schemars::JsonSchema;
use serde::Deserialize;

/// The boot arguments in effect: what was given, or the default. Words are those of the command line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Args {
    /// `4k`, `16k` or `64k`.
    pub granule: String,
    /// `self`, `self-range`, `ram` or `demand`.
    pub memmap: String,
    /// `self`, `ram` or `demand`.
    pub boot_memmap: String,
    /// `auto` or `manual`.
    pub online: String,
    /// `auto` or `manual`.
    pub hotadd: String,
    /// `auto` or `off`.
    pub virtio_mem: String,
    /// `off`, `dev` or `mem`.
    pub pmem: String,
    /// The pools of huge pages that boot was asked for.
    pub hugepages: Vec<HugePages>,
    /// `on` or `off`.
    pub hvo: String,
    /// The commands to run, if any.
    #[serde(deserialize_with = "Option::deserialize")]
    pub run: Option<String>,
    /// `dumb` or `ansi`.
    pub term: String,
    /// `on` or `off`.
    pub script: String,
    /// Bytes of the kernel's heap.
    pub heap: u64,
    /// The most CPUs that run, or `None`: all.
    #[serde(deserialize_with = "Option::deserialize")]
    pub maxcpus: Option<u64>,
    /// `on` or `off`.
    pub bench: String,
    /// `on` or `off`.
    pub strict: String,
    /// The invariant that is broken on purpose, if any.
    #[serde(deserialize_with = "Option::deserialize")]
    pub bug: Option<String>,
}

/// A pool of `hugepages=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct HugePages {
    /// Bytes of a page.
    pub size: u64,
    /// How many were asked for.
    pub count: u64,
}
