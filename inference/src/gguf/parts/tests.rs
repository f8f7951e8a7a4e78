//! Split models: any part opens all, and parts that do not belong together are refused with the reason.

use candle_core::Device;

use super::*;
use crate::gguf::{GgmlType, GgufFile, writer::GgufWriter};

/// A tensor `name` of 8 f32, all `value`.
fn put(writer: &mut GgufWriter, name: &str, value: f32) {
    let data = (0..8).flat_map(|_| value.to_le_bytes()).collect();
    writer.tensor(name, &[8], GgmlType::F32, data);
}

/// Part `index` of three, with tensors `t0`, `t1`, `t2`; the first has the metadata.
fn part(index: u16) -> GgufWriter {
    let mut writer = GgufWriter::new();
    writer
        .set(NO, Value::U16(index))
        .set(COUNT, Value::U16(3))
        .set(TENSORS, Value::I32(3));
    if index == 0 {
        writer.set_str("general.architecture", "llama");
    }
    put(&mut writer, &format!("t{index}"), f32::from(index));
    writer
}

struct Folder(tempfile::TempDir);

impl Folder {
    /// The three parts, each changed by `change`.
    fn new(change: impl Fn(u16, &mut GgufWriter)) -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        for index in 0..3 {
            let mut writer = part(index);
            change(index, &mut writer);
            writer.write(&folder.part(index)).expect("written");
        }
        folder
    }

    fn part(&self, index: u16) -> PathBuf {
        self.0
            .path()
            .join(format!("m-{:05}-of-00003.gguf", index + 1))
    }
}

#[test]
fn any_part_opens_the_whole_model() {
    let folder = Folder::new(|_, _| {});
    for index in 0..3 {
        let file = GgufFile::open(&folder.part(index)).unwrap();
        assert_eq!(file.get_str("general.architecture"), Some("llama"));
        assert_eq!(file.tensors().len(), 3);
        for name in ["t0", "t1", "t2"] {
            let tensor = file.load_tensor(name, &Device::Cpu).unwrap();
            let values = tensor
                .dequantize(&Device::Cpu)
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            let want: f32 = name[1..].parse().unwrap();
            assert_eq!(values, [want; 8], "{name} through part {index}");
            assert_eq!(file.dequantize_tensor(name).unwrap(), [want; 8]);
        }
        let size = |index| std::fs::metadata(folder.part(index)).unwrap().len();
        assert_eq!(file.file_bytes(), (0..3).map(size).sum::<u64>());
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    type Change = fn(u16, &mut GgufWriter);
    let table: [(&str, Change, &str); 9] = [
        (
            "another count in one part",
            |index, writer| {
                if index == 1 {
                    writer.set(COUNT, Value::U16(4));
                }
            },
            "it says to be part 2 of 4",
        ),
        (
            "another number in one part",
            |index, writer| {
                if index == 2 {
                    writer.set(NO, Value::U16(1));
                }
            },
            "it says to be part 2 of 3",
        ),
        (
            "a whole file among the parts",
            |index, writer| {
                if index == 1 {
                    writer.remove(COUNT);
                }
            },
            "it says to be a whole file",
        ),
        (
            "no number",
            |_, writer| {
                writer.remove(NO);
            },
            "`split.no` is missing",
        ),
        (
            "a number past the count",
            |_, writer| {
                writer.set(NO, Value::U16(3));
            },
            "`split.no` is 3 of 3",
        ),
        (
            "a negative count",
            |_, writer| {
                writer.set(COUNT, Value::I32(-3));
            },
            "`split.count` is I32(-3)",
        ),
        (
            "a huge count",
            |_, writer| {
                writer.set(COUNT, Value::U64(u64::MAX));
            },
            "`split.count` is U64",
        ),
        (
            "the same tensor twice",
            |index, writer| {
                if index == 2 {
                    put(writer, "t0", 5.0);
                }
            },
            "tensor `t0` is in an earlier part too",
        ),
        (
            "a tensor too many",
            |index, writer| {
                if index == 2 {
                    put(writer, "t3", 5.0);
                }
            },
            "have 4 tensors, the first says Some(3)",
        ),
    ];
    for (name, change, reason) in table {
        let folder = Folder::new(change);
        let error = GgufFile::open(&folder.part(0)).expect_err(name).to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[test]
fn a_missing_part_is_named() {
    let folder = Folder::new(|_, _| {});
    std::fs::remove_file(folder.part(1)).unwrap();
    for index in [0, 2] {
        let error = GgufFile::open(&folder.part(index)).unwrap_err().to_string();
        assert!(error.contains("m-00002-of-00003.gguf"), "{error}");
        assert!(
            error.contains("part 2 of 3 of the model is missing"),
            "{error}"
        );
    }
}

#[test]
fn a_renamed_part_says_which_name_it_needs() {
    let folder = Folder::new(|_, _| {});
    let renamed = folder.0.path().join("m.gguf");
    std::fs::rename(folder.part(0), &renamed).unwrap();
    let error = GgufFile::open(&renamed).unwrap_err().to_string();
    assert!(
        error.contains("must end in `-00001-of-00003.gguf`"),
        "{error}"
    );
}

#[test]
fn a_damaged_part_is_named() {
    let folder = Folder::new(|_, _| {});
    std::fs::write(folder.part(2), b"GGUF\x03\0\0\0").unwrap();
    let error = GgufFile::open(&folder.part(0)).unwrap_err();
    assert!(
        matches!(&error, GgufError::Corrupt { path, .. } if *path == folder.part(2)),
        "{error}"
    );
}

#[test]
fn a_file_that_changes_or_is_being_written_is_refused() {
    let folder = Folder::new(|_, _| {});
    let file = GgufFile::open(&folder.part(0)).unwrap();
    let grow = || {
        let mut part = std::fs::OpenOptions::new()
            .append(true)
            .open(folder.part(1))
            .unwrap();
        io::Write::write_all(&mut part, &[0; 32]).unwrap();
    };
    assert!(file.load_tensor("t1", &Device::Cpu).is_ok());
    grow();
    let error = file.load_tensor("t1", &Device::Cpu).unwrap_err();
    assert!(
        matches!(&error, GgufError::Changed { path } if *path == folder.part(1)),
        "{error}"
    );
    assert!(file.load_tensor("t0", &Device::Cpu).is_ok());
    assert!(file.check_unchanged().is_err());
    drop(file);

    let writer = File::options().write(true).open(folder.part(2)).unwrap();
    writer.try_lock().unwrap();
    let error = GgufFile::open(&folder.part(0)).unwrap_err();
    assert!(
        matches!(&error, GgufError::Busy { path } if *path == folder.part(2)),
        "{error}"
    );
}

#[test]
fn an_open_file_is_locked_against_writers_that_ask() {
    let folder = Folder::new(|_, _| {});
    let _open = GgufFile::open(&folder.part(0)).unwrap();
    let writer = File::options().write(true).open(folder.part(0)).unwrap();
    assert!(matches!(writer.try_lock(), Err(TryLockError::WouldBlock)));
}
