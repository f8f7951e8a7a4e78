//! What the system says about NVIDIA cards and their driver, without any library of CUDA: enough to explain why a GPU cannot be
//! used. Linux's `/proc/driver/nvidia`; elsewhere nothing is known.

use std::{fmt, fs, path::Path};

/// The oldest driver that runs programs of CUDA 13.0, which [`crate::device`] is built with.
pub const OLDEST_DRIVER: u32 = 580;

const PROC: &str = "/proc/driver/nvidia";

/// The driver's kernel module and the cards it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuDriver {
    /// For example `580.65.06`.
    pub version: String,
    /// Names of the cards, in no certain order.
    pub cards: Vec<String>,
}

/// Why no GPU can be used, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverProblem {
    NoDriver,
    OldDriver { version: String },
    NoCard { version: String },
}

impl fmt::Display for DriverProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver => write!(
                f,
                "the system has no NVIDIA driver loaded, of which version {OLDEST_DRIVER} or later is needed"
            ),
            Self::OldDriver { version } => write!(
                f,
                "the NVIDIA driver is version {version}, and {OLDEST_DRIVER} or later is needed"
            ),
            Self::NoCard { version } => {
                write!(f, "the NVIDIA driver {version} sees no card")
            }
        }
    }
}

impl GpuDriver {
    /// Returns the loaded driver, or `None` where there is none.
    pub fn find() -> Option<Self> {
        Self::find_in(Path::new(PROC))
    }

    fn find_in(folder: &Path) -> Option<Self> {
        let version = parse_version(&fs::read_to_string(folder.join("version")).ok()?)?;
        let cards = fs::read_dir(folder.join("gpus")).into_iter().flatten();
        let mut cards: Vec<String> = cards
            .flatten()
            .filter_map(|card| fs::read_to_string(card.path().join("information")).ok())
            .filter_map(|information| parse_model(&information))
            .collect();
        cards.sort();
        Some(Self { version, cards })
    }

    /// Returns what is wrong with a driver, if the system tells.
    pub fn problem(driver: Option<&Self>) -> Option<DriverProblem> {
        let Some(driver) = driver else {
            return Some(DriverProblem::NoDriver);
        };
        let version = driver.version.clone();
        let major = version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok());
        if major.is_some_and(|major: u32| major < OLDEST_DRIVER) {
            return Some(DriverProblem::OldDriver { version });
        }
        driver
            .cards
            .is_empty()
            .then_some(DriverProblem::NoCard { version })
    }
}

/// Returns the first word of the form `digits.digits` of the driver's version file.
fn parse_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        let mut parts = word.split('.');
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        word.contains('.') && parts.all(digits)
    };
    let line = text.lines().find(|line| line.starts_with("NVRM"))?;
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// Returns the card's name from its information file.
fn parse_model(text: &str) -> Option<String> {
    let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
    Some(model.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: &str = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n\
                          GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n";
    const OPEN: &str = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n";

    fn driver(version: &str, cards: &[&str]) -> GpuDriver {
        GpuDriver {
            version: version.to_owned(),
            cards: cards.iter().map(|card| (*card).to_owned()).collect(),
        }
    }

    #[test]
    fn versions_of_both_kernel_modules_are_read() {
        assert_eq!(parse_version(CLOSED).as_deref(), Some("535.183.01"));
        assert_eq!(parse_version(OPEN).as_deref(), Some("580.65.06"));
        assert_eq!(parse_version("GCC version: 12.2"), None);
    }

    #[test]
    fn cards_are_found_where_the_driver_lists_them() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(GpuDriver::find_in(folder.path()), None);
        fs::write(folder.path().join("version"), OPEN).unwrap();
        let card = folder.path().join("gpus/0000:01:00.0");
        fs::create_dir_all(&card).unwrap();
        fs::write(
            card.join("information"),
            "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 7\n",
        )
        .unwrap();
        let found = GpuDriver::find_in(folder.path());
        assert_eq!(found, Some(driver("580.65.06", &["NVIDIA H100 80GB HBM3"])));
    }

    #[test]
    fn a_problem_names_its_reason() {
        let text = |driver: Option<GpuDriver>| {
            GpuDriver::problem(driver.as_ref()).map(|problem| problem.to_string())
        };
        assert!(text(None).unwrap().contains("no NVIDIA driver"));
        let old = text(Some(driver("535.183.01", &["NVIDIA A100"]))).unwrap();
        assert!(old.contains("535.183.01") && old.contains("580"));
        assert!(
            text(Some(driver("580.65.06", &[])))
                .unwrap()
                .contains("no card")
        );
        assert_eq!(text(Some(driver("580.65.06", &["NVIDIA A100"]))), None);
    }
}
