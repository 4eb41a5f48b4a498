//! The origin of a record: machine, commit, date.

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::present::words::plural;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// The CPU: `flex` or `ndarray`.
    Cpu,
    /// The devices of `wgpu` or `cuda`.
    Gpu,
}

impl On {
    /// The kind of a device from its name in `--device`; `None` for one that another process lends,
    /// which may be either.
    pub fn of(device: &str) -> Option<Self> {
        match device.split(':').next() {
            Some("wgpu" | "cuda") => Some(Self::Gpu),
            Some("flex" | "ndarray") => Some(Self::Cpu),
            _ => None,
        }
    }

    /// Its name, for readers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "the CPU",
            Self::Gpu => "a GPU",
        }
    }
}

/// The machine of a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's name, if the system reports it, and in newer records its vector instructions.
    pub cpu: Option<String>,
    /// Number of cores available to the process.
    pub cores: usize,
    /// Memory in GiB, if the system reports it.
    pub memory_gib: Option<f64>,
    /// The operating system and architecture.
    pub system: String,
    /// The name and driver of the device that computed, if it was not the CPU and is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let parts = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(parts);
        let cpu = system.cpus().first().map(|cpu| cpu.brand());
        let tenths = (system.total_memory() as f64 / f64::from(1 << 30) * 10.0).round();
        Self {
            cpu: cpu.filter(|brand| !brand.is_empty()).map(with_instructions),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (tenths > 0.0).then_some(tenths / 10.0),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            accelerator: None,
        }
    }

    /// A description of the machine.
    pub fn describe(&self) -> String {
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        let cores = plural(self.cores as u64, "core");
        let memory = self.memory_gib.map(|gib| format!(", {gib:.0} GiB"));
        let memory = memory.unwrap_or_default();
        format!("{cpu}, {cores}{memory}, {}", self.system)
    }
}

/// A processor by its name and its vector instructions: virtual machines give different processors
/// one name, and times depend most on these.
fn with_instructions(brand: &str) -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("AVX-512", is_x86_feature_detected!("avx512f")),
            ("VNNI", is_x86_feature_detected!("avx512vnni")),
            ("BF16", is_x86_feature_detected!("avx512bf16")),
        ];
        let found: Vec<&str> = all
            .iter()
            .filter_map(|(name, is)| is.then_some(*name))
            .collect();
        if !found.is_empty() {
            return format!("{brand} with {}", found.join(", "));
        }
        if is_x86_feature_detected!("avx2") {
            return format!("{brand} with AVX2");
        }
    }
    brand.to_owned()
}

/// The commit of the sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The commit's hash.
    pub hash: String,
    /// Whether there were uncommitted changes.
    pub dirty: bool,
    /// Whether this is the commit of the program. Older records have that of the working folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub built: bool,
}

/// The suffix of a commit's hash if files differ from it.
const DIRTY: &str = "-dirty";

impl Commit {
    /// The commit of a program, from its build script: the hash, with `-dirty` if files differed.
    /// `None` if it is empty.
    pub fn built(commit: &str) -> Option<Self> {
        let (hash, dirty) = match commit.strip_suffix(DIRTY) {
            Some(hash) => (hash, true),
            None => (commit, false),
        };
        (!hash.is_empty()).then(|| Self {
            hash: hash.to_owned(),
            dirty,
            built: true,
        })
    }

    /// Whether a program was built with uncommitted changes.
    pub fn is_of_uncommitted_build(&self) -> bool {
        self.built && self.dirty
    }

    /// The first digits, and whether files differ.
    pub fn describe(&self) -> String {
        let short = self.hash.get(..12).unwrap_or(&self.hash);
        match self.dirty {
            true => format!("{short} with uncommitted changes"),
            false => short.to_owned(),
        }
    }
}

/// Today in UTC as `year-month-day`.
pub fn today() -> String {
    OffsetDateTime::now_utc().date().to_string()
}

/// This second in UTC as `year-month-dayThour:minute:secondZ`.
pub fn now() -> String {
    let now = OffsetDateTime::now_utc().truncate_to_second();
    // Years up to 9999 have this form.
    now.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_utc_in_whole_seconds() {
        let (day, now) = (today(), now());
        assert!(now.starts_with(&day) || today() > day, "{now}");
        assert!(now.len() == 20 && now.ends_with('Z'), "{now}");
    }

    #[test]
    fn a_build_says_what_it_was_made_of() {
        let clean = Commit::built("abc").unwrap();
        assert!(clean.built && !clean.dirty && !clean.is_of_uncommitted_build());
        let dirty = Commit::built("abc-dirty").unwrap();
        assert_eq!(
            (dirty.hash.as_str(), dirty.is_of_uncommitted_build()),
            ("abc", true)
        );
        assert_eq!(Commit::built(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_memory_and_cores() {
        let machine = Machine::this();
        assert!(
            machine.cores > 0 && machine.memory_gib > Some(0.0),
            "{machine:?}"
        );
        let cpu = machine.cpu.unwrap_or_default();
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            cpu.contains(" with "),
            is_x86_feature_detected!("avx2"),
            "{cpu}"
        );
    }
}
