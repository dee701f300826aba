//! Which kernels there are, as `scripts/linux --print` lists them: lines of words, separated by tabs.

use hotmap_client::error::{Checked, Error};
use hotmap_client::qemu::root;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A kernel that can be measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Version and flavour: `6.12.117 cloud`.
    pub name: String,
    /// Debian's package.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The package's SHA-256, or the image's where there is no package.
    pub sha256: String,
    /// The kernel.
    pub image: PathBuf,
    /// The folder of its drivers, each as NAME.ko.xz.
    pub modules: Option<PathBuf>,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernels {
    /// UEFI for QEMU.
    pub firmware: PathBuf,
    /// A static busybox for arm64.
    pub busybox: PathBuf,
    /// The kernels, oldest first.
    pub kernels: Vec<Kernel>,
    /// What there is not, and why.
    pub missing: Vec<String>,
}

impl Kernels {
    /// Reads what `scripts/linux --print` prints.
    ///
    /// # Errors
    /// Unknown when a line is not in its format.
    pub fn read(text: &str) -> Checked<Self> {
        let mut kernels = Self::default();
        for line in text.lines() {
            kernels.take(line).ok_or_else(|| Error::Unknown(format!("scripts/linux printed: {line}")))?;
        }
        Ok(kernels)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["firmware", path] => self.firmware = path.into(),
            ["busybox", path] => self.busybox = path.into(),
            ["missing", name, why] => self.missing.push(format!("{name}: {why}")),
            ["kernel", name, package, version, sha256, image, modules] => self.kernels.push(Kernel {
                name: name.into(),
                package: package.into(),
                version: version.into(),
                sha256: sha256.into(),
                image: image.into(),
                modules: (modules != "-").then(|| modules.into()),
            }),
            _ => return None,
        }
        Some(())
    }
}

impl Kernel {
    /// A driver's file.
    pub fn driver(&self, name: &str) -> Option<PathBuf> {
        let file = self.modules.as_ref()?.join(format!("{name}.ko.xz"));
        file.is_file().then_some(file)
    }
}

/// Runs `scripts/linux`, which fetches what is missing and says so on standard error.
///
/// # Errors
/// Unknown when there is nothing to measure.
pub fn fetch() -> Checked<Kernels> {
    let script = root().join("scripts/linux");
    let output = Command::new(&script).arg("--print").stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Error::Unknown(format!("{}: {error}", script.display())))?;
    let kernels = Kernels::read(&String::from_utf8_lossy(&output.stdout))?;
    let tools = [&kernels.firmware, &kernels.busybox];
    if kernels.kernels.is_empty() || tools.iter().any(|path| path.as_os_str().is_empty()) {
        return Err(Error::Unknown("there is no Linux to measure: see above".into()));
    }
    Ok(kernels)
}

#[cfg(test)]
mod tests {
    use super::Kernels;

    #[test]
    fn what_the_script_prints_is_read() {
        let text = "firmware\t/e.fd\nbusybox\t/b\n\
                    kernel\t6.12.117 cloud\tlinux-image\t6.12.117-1\tcc33\t/v\t/m\n\
                    kernel\tImage\t-\t-\tab\t/i\t-\nmissing\tLinux 7\tsid has none\n";
        let kernels = Kernels::read(text).expect("lines of the format");
        assert_eq!(
            (kernels.firmware.as_os_str(), kernels.busybox.as_os_str()),
            ("/e.fd".as_ref(), "/b".as_ref())
        );
        assert_eq!(kernels.kernels[0].modules.as_deref(), Some("/m".as_ref()));
        assert_eq!((kernels.kernels[1].name.as_str(), &kernels.kernels[1].modules), ("Image", &None));
        assert_eq!(kernels.missing, ["Linux 7: sid has none"]);
        assert!(Kernels::read("kernel\tx").is_err());
    }
}
