//! The origin of a record: machine, commit, date.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

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
    /// The CPU's name, if the system reports it.
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
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        let memory = field(&file("/proc/meminfo"), "MemTotal")
            .and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok());
        Self {
            cpu: field(&file("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory.map(|kib| (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            accelerator: None,
        }
    }

    /// A description of the machine.
    pub fn describe(&self) -> String {
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        let plural = if self.cores == 1 { "" } else { "s" };
        let memory = self
            .memory_gib
            .map(|gib| format!(", {gib:.0} GiB"))
            .unwrap_or_default();
        format!(
            "{cpu}, {} core{plural}{memory}, {}",
            self.cores, self.system
        )
    }
}

/// The value of the first `key : value` line.
fn field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
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
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    date(seconds / 86_400)
}

/// This second in UTC as `year-month-dayThour:minute:secondZ`.
pub fn now() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    instant(seconds)
}

fn instant(seconds: u64) -> String {
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    let day = date(seconds / 86_400);
    format!("{day}T{hour:02}:{minute:02}:{:02}Z", seconds % 60)
}

/// The date that is `days` after 1970-01-01, by Hinnant's `civil_from_days`.
fn date(days: u64) -> String {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(11_017), "2000-03-01");
        assert_eq!(date(20_453), "2025-12-31");
        assert_eq!(instant(951_868_799), "2000-02-29T23:59:59Z");
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

    #[test]
    fn fields_of_proc_files_are_found() {
        let text = "processor\t: 0\nmodel name\t: A CPU\nMemTotal:  100 kB\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A CPU"));
        assert_eq!(field(text, "MemTotal").as_deref(), Some("100 kB"));
        assert_eq!(field(text, "none"), None);
    }
}
