//! The files of a model: one, or the parts of a split model, mapped and guarded against change.
//!
//! A split model is `NAME-00001-of-00003.gguf` and so on. Every part has its own tensors and the keys `split.no` (from
//! 0), `split.count` and `split.tensors.count` (of all parts); all other metadata is in the first.
//!
//! Guarded how: the files stay open with a shared advisory lock (where the file system has locks), so that a program
//! that takes an exclusive lock to write waits or is refused, and a file under such a lock is not opened. Programs that
//! do not ask for locks can still write in place: after every copy out of the mapping the size and the time of change
//! are compared with those at opening, and a difference is an error. One that shortens the file during such a copy
//! ends this process with SIGBUS; that cannot be caught, but it is not silent either. A rename over the file or its
//! removal changes nothing here: the mapping keeps the old one. Not noticed: a write that leaves size and time as they
//! were.
//! Source: llama.cpp's `gguf-split`.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use memmap2::Mmap;

use super::{
    GgufError, Value,
    parse::{self, Header, ParseError},
};

/// No page of any supported system is larger, so multiples of it are page boundaries.
#[cfg(unix)]
const PAGE: usize = 64 * 1024;

const NO: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// One mapped file.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    map: Mmap,
    modified: Option<SystemTime>,
}

impl Part {
    fn open(path: &Path) -> Result<Self, GgufError> {
        let read_error = |source| GgufError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read_error)?;
        let metadata = file.metadata().map_err(read_error)?;
        if metadata.is_dir() {
            return Err(read_error(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        // Without locks in the file system, only the comparison of size and time is left.
        if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
            return Err(GgufError::Busy {
                path: path.to_owned(),
            });
        }
        // SAFETY: the mapping is read-only, and the module header says what guards the file against being changed.
        let map = unsafe { Mmap::map(&file) }.map_err(read_error)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            map,
            modified: metadata.modified().ok(),
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Compares size and time of change with those at opening.
    ///
    /// # Errors
    /// [`GgufError::Changed`].
    pub fn check_unchanged(&self) -> Result<(), GgufError> {
        let same = self.file.metadata().is_ok_and(|metadata| {
            metadata.len() == self.map.len() as u64 && metadata.modified().ok() == self.modified
        });
        if same {
            Ok(())
        } else {
            Err(GgufError::Changed {
                path: self.path.clone(),
            })
        }
    }

    /// Takes the whole pages of `bytes`, a part of [`Self::bytes`], out of memory. Advice only: nothing changes for a
    /// reader but the time to map them again.
    pub fn release(&self, bytes: &[u8]) {
        #[cfg(unix)]
        {
            let start = bytes.as_ptr().addr() - self.map.as_ptr().addr();
            let (first, end) = (start.next_multiple_of(PAGE), start + bytes.len());
            let len = end.saturating_sub(first) / PAGE * PAGE;
            if len == 0 {
                return;
            }
            // SAFETY: the mapping is read-only and of a file, so dropped pages read the same again.
            let dropped = unsafe {
                self.map
                    .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, first, len)
            };
            if let Err(error) = dropped {
                tracing::debug!(%error, "pages of the model file stay mapped");
            }
        }
    }

    fn header(&self) -> Result<Header, GgufError> {
        let header = parse::parse(&self.map).map_err(|error| located(&self.path, error))?;
        self.check_unchanged()?;
        Ok(header)
    }
}

/// All parts of a model and the header of the whole.
pub(super) struct Opened {
    pub parts: Vec<Part>,
    pub header: Header,
}

/// Opens a file and, where it is a part of a split model, all others.
pub(super) fn open(path: &Path) -> Result<Opened, GgufError> {
    let part = Part::open(path)?;
    let header = part.header()?;
    let Some(place) = place(path, &header)? else {
        return Ok(Opened {
            parts: vec![part],
            header,
        });
    };
    let stem = stem(path, place)?;
    let mut given = Some((part, header));
    let mut parts = Vec::new();
    let mut whole: Option<Header> = None;
    for index in 0..place.count {
        let (part, header) = match given.take_if(|_| index == place.index) {
            Some(given) => given,
            None => open_other(path, &stem, index, place.count)?,
        };
        whole = Some(match whole {
            None => header,
            Some(whole) => merge(whole, header, index, &part.path)?,
        });
        parts.push(part);
    }
    let header = whole.ok_or_else(|| split_error(path, "it has no parts".into()))?;
    check_count(path, &header)?;
    Ok(Opened { parts, header })
}

/// Which part a file is, and of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    index: usize,
    count: usize,
}

/// Returns `None` for a file that is not a part of several.
fn place(path: &Path, header: &Header) -> Result<Option<Place>, GgufError> {
    let number = |key: &str| match header.metadata.get(key) {
        None => Ok(None),
        Some(value) => match value.as_u64().and_then(|value| u16::try_from(value).ok()) {
            Some(number) => Ok(Some(usize::from(number))),
            None => Err(split_error(path, format!("`{key}` is {value:?}"))),
        },
    };
    let Some(count) = number(COUNT)?.filter(|&count| count > 1) else {
        return Ok(None);
    };
    match number(NO)? {
        Some(index) if index < count => Ok(Some(Place { index, count })),
        Some(index) => Err(split_error(path, format!("`{NO}` is {index} of {count}"))),
        None => Err(split_error(path, format!("`{NO}` is missing"))),
    }
}

fn suffix(index: usize, count: usize) -> String {
    format!("-{:05}-of-{count:05}.gguf", index + 1)
}

/// Returns the path without the suffix that its place demands.
fn stem(path: &Path, place: Place) -> Result<String, GgufError> {
    let suffix = suffix(place.index, place.count);
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(|name| name.strip_suffix(&suffix)) {
        Some(stem) => Ok(stem.to_owned()),
        None => Err(split_error(
            path,
            format!("its name must end in `{suffix}`, as the other parts are found by name"),
        )),
    }
}

fn open_other(
    given: &Path,
    stem: &str,
    index: usize,
    count: usize,
) -> Result<(Part, Header), GgufError> {
    let path = given.with_file_name(format!("{stem}{}", suffix(index, count)));
    let part = Part::open(&path).map_err(|error| match error {
        GgufError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            GgufError::PartMissing {
                path: path.clone(),
                number: index + 1,
                count,
            }
        }
        other => other,
    })?;
    let header = part.header()?;
    let want = Place { index, count };
    match place(&path, &header)? {
        Some(place) if place == want => Ok((part, header)),
        Some(Place { index, count }) => Err(split_error(
            &path,
            format!("it says to be part {} of {count}", index + 1),
        )),
        None => Err(split_error(&path, "it says to be a whole file".into())),
    }
}

/// Adds the tensors of part `index` to those before it.
fn merge(mut whole: Header, part: Header, index: usize, path: &Path) -> Result<Header, GgufError> {
    for (name, mut info) in part.tensors {
        info.part = index;
        if whole.tensors.insert(name.clone(), info).is_some() {
            return Err(split_error(
                path,
                format!("tensor `{name}` is in an earlier part too"),
            ));
        }
    }
    Ok(whole)
}

/// Compares the number of tensors with what the first part says.
fn check_count(path: &Path, header: &Header) -> Result<(), GgufError> {
    let found = header.tensors.len() as u64;
    match header.metadata.get(TENSORS).map(Value::as_u64) {
        Some(Some(count)) if count == found => Ok(()),
        None => Ok(()),
        Some(count) => Err(split_error(
            path,
            format!("the parts have {found} tensors, the first says {count:?}"),
        )),
    }
}

fn split_error(path: &Path, what: String) -> GgufError {
    GgufError::Split {
        path: path.to_owned(),
        what,
    }
}

pub(super) fn located(path: &Path, error: ParseError) -> GgufError {
    let path = path.to_owned();
    match error {
        ParseError::NotGguf(found) => GgufError::NotGguf { path, found },
        ParseError::Version(version) => GgufError::Version { path, version },
        ParseError::Corrupt { offset, what } => GgufError::Corrupt { path, offset, what },
    }
}

#[cfg(test)]
mod tests;
