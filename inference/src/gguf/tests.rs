//! Round trips of the writer through the reader, hostile files, and byte flips.

use std::path::PathBuf;

use super::{synthetic::SyntheticModel, writer::GgufWriter, *};

/// Writes bytes to a file of their own and opens it.
fn open(bytes: &[u8]) -> Result<GgufFile, GgufError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join("file.gguf");
    std::fs::write(&path, bytes).expect("written");
    GgufFile::open(&path)
}

fn small() -> GgufWriter {
    let mut writer = GgufWriter::new();
    writer
        .set_str("general.architecture", "llama")
        .set_u32("a.count", 7)
        .set("a.list", Value::Array(Array::U32(vec![1, 2, 3])))
        .set(
            "a.words",
            Value::Array(Array::String(vec!["x".into(), "yz".into()])),
        )
        .tensor("w", &[2, 3], GgmlType::F32, vec![0; 24])
        .tensor("exotic", &[1, 256], GgmlType(77), vec![0; 64]);
    writer
}

#[test]
fn what_the_writer_writes_the_reader_reads() {
    let file = open(&small().to_bytes()).unwrap();
    assert_eq!(file.version(), 3);
    assert_eq!(file.get_str("general.architecture"), Some("llama"));
    assert_eq!(file.get_u32("a.count"), Some(7));
    assert_eq!(file.get_arr_u32("a.list"), Some(vec![1, 2, 3]));
    assert_eq!(file.get_arr_str("a.words").unwrap(), ["x", "yz"]);
    assert_eq!(file.tensor("w").unwrap().shape, [2, 3]);
    assert_eq!(file.tensor_data("w").unwrap().len(), 24);
    assert!(matches!(
        file.require_str("nope"),
        Err(GgufError::MissingKey { .. })
    ));
}

#[test]
fn an_unknown_type_is_an_error_only_when_its_tensor_is_used() {
    let file = open(&small().to_bytes()).unwrap();
    assert!(file.load_tensor("w", &Device::Cpu).is_ok());
    let error = file.load_tensor("exotic", &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("type 77"), "{error}");
}

#[test]
fn a_known_type_that_cannot_be_computed_with_is_named() {
    let iq3_s = GgmlType(21);
    let mut writer = GgufWriter::new();
    writer.tensor("w", &[1, 256], iq3_s, vec![0; 110]);
    let file = open(&writer.to_bytes()).unwrap();
    let error = file.load_tensor("w", &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("IQ3_S"), "{error}");
    assert!(file.dequantize_tensor("w").is_err());
}

#[test]
fn every_truncation_of_a_real_header_is_refused() {
    let bytes = small().to_bytes();
    let data_start = bytes.len() - 32 - 64;
    for len in 0..data_start + 24 {
        assert!(
            open(&bytes[..len]).is_err(),
            "{len} of {} bytes were accepted",
            bytes.len()
        );
    }
}

/// Replaces the first occurrence of `from` by `to` of the same length.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("pattern present");
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to);
    out
}

fn header(tensors: u64, pairs: u64) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend(tensors.to_le_bytes());
    out.extend(pairs.to_le_bytes());
    out
}

/// One metadata pair `k` of type array, with `body` after the type.
fn array_pair(body: &[u8]) -> Vec<u8> {
    let mut out = header(0, 1);
    out.extend(1u64.to_le_bytes());
    out.push(b'k');
    out.extend(9u32.to_le_bytes());
    out.extend(body);
    out
}

fn tensor_file(dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = header(1, 0);
    out.extend(1u64.to_le_bytes());
    out.push(b'w');
    out.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.resize(out.len() + 256, 0);
    out
}

fn nested_arrays(depth: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..depth {
        body.extend(9u32.to_le_bytes());
        body.extend(1u64.to_le_bytes());
    }
    body.extend(0u32.to_le_bytes());
    body.extend(0u64.to_le_bytes());
    array_pair(&body)
}

fn huge_array(kind: u32) -> Vec<u8> {
    let mut body = kind.to_le_bytes().to_vec();
    body.extend(u64::MAX.to_le_bytes());
    array_pair(&body)
}

/// A name, a file, and a piece of the error.
type HostileFile = (&'static str, Vec<u8>, &'static str);

fn files_with_hostile_heads() -> Vec<HostileFile> {
    vec![
        ("empty", vec![], "empty"),
        ("zip", b"PK\x03\x04aaaaaaaaaaaaaaaaaaaa".to_vec(), "ZIP"),
        ("html", b"<!doctype html>".to_vec(), "markup"),
        (
            "safetensors",
            b"\x10\0\0\0\0\0\0\0{\"a\":1}".to_vec(),
            "safetensors",
        ),
        (
            "lfs pointer",
            b"version https://git-lfs.github.com/spec/v1".to_vec(),
            "Git LFS",
        ),
        (
            "version 1",
            b"GGUF\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            "version 1",
        ),
        (
            "big endian",
            b"GGUF\0\0\0\x03\0\0\0\0\0\0\0\0".to_vec(),
            "version 50331648",
        ),
        ("tensor count", header(u64::MAX, 0), "cannot fit"),
        ("metadata count", header(0, 1 << 60), "cannot fit"),
    ]
}

fn files_with_hostile_metadata() -> Vec<HostileFile> {
    let good = small().to_bytes();
    let mut odd_alignment = small();
    odd_alignment.set_u32("general.alignment", 7);
    let mut zero_alignment = small();
    zero_alignment.set_u32("general.alignment", 0);
    vec![
        (
            "string length",
            array_pair(&[8, 0, 0, 0]),
            "bytes are needed",
        ),
        ("u8 array bomb", huge_array(0), "cannot fit"),
        ("f64 array bomb", huge_array(12), "cannot fit"),
        ("string array bomb", huge_array(8), "cannot fit"),
        ("array of arrays bomb", huge_array(9), "cannot fit"),
        ("nested arrays", nested_arrays(10_000), "nested too deeply"),
        ("array of unknown type", huge_array(99), "unknown type 99"),
        (
            "key twice",
            patched(&good, b"a.count", b"a.words"),
            "occurs twice",
        ),
        (
            "key is not UTF-8",
            patched(&good, b"a.count", b"a.\xff\xff\xff\xff\xff"),
            "not UTF-8",
        ),
        (
            "odd alignment",
            odd_alignment.to_bytes(),
            "general.alignment",
        ),
        (
            "zero alignment",
            zero_alignment.to_bytes(),
            "general.alignment",
        ),
    ]
}

fn files_with_hostile_tensors() -> Vec<HostileFile> {
    let mut duplicate_tensor = GgufWriter::new();
    duplicate_tensor.tensor("w", &[8], GgmlType::F32, vec![0; 32]);
    duplicate_tensor.tensor("w", &[8], GgmlType::F32, vec![0; 32]);
    let mut overlap = GgufWriter::new();
    overlap.tensor("first", &[16], GgmlType::F32, vec![0; 64]);
    overlap.tensor("other", &[16], GgmlType::F32, vec![0; 64]);
    let overlap = patched(
        &overlap.to_bytes(),
        &64u64.to_le_bytes(),
        &32u64.to_le_bytes(),
    );
    vec![
        ("tensor twice", duplicate_tensor.to_bytes(), "occurs twice"),
        ("tensors overlap", overlap, "overlap"),
        ("no dimensions", tensor_file(&[], 0, 0), "0 dimensions"),
        (
            "five dimensions",
            tensor_file(&[1; 5], 0, 0),
            "5 dimensions",
        ),
        (
            "zero dimension",
            tensor_file(&[4, 0], 0, 0),
            "impossible shape",
        ),
        (
            "product overflow",
            tensor_file(&[1 << 40, 1 << 40], 0, 0),
            "impossible shape",
        ),
        (
            "size overflow",
            tensor_file(&[1 << 62], 0, 0),
            "past the end",
        ),
        (
            "longer than the file",
            tensor_file(&[1024], 0, 0),
            "past the end",
        ),
        (
            "offset past the end",
            tensor_file(&[1], 0, 1 << 20),
            "past the end",
        ),
        (
            "offset overflow",
            tensor_file(&[1], 0, u64::MAX - 31),
            "past the end",
        ),
        (
            "misaligned offset",
            tensor_file(&[1], 0, 3),
            "not a multiple of 32",
        ),
        (
            "broken block",
            tensor_file(&[33], 8, 0),
            "whole Q8_0 blocks",
        ),
    ]
}

#[test]
fn hostile_files_are_refused_with_their_reason() {
    let table = [
        files_with_hostile_heads(),
        files_with_hostile_metadata(),
        files_with_hostile_tensors(),
    ];
    for (name, bytes, reason) in table.into_iter().flatten() {
        match open(&bytes) {
            Ok(_) => panic!("{name}: accepted"),
            Err(error) => assert!(error.to_string().contains(reason), "{name}: {error}"),
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let good = SyntheticModel {
        num_layers: 1,
        ..Default::default()
    }
    .to_writer()
    .unwrap()
    .to_bytes();
    let header_len = 6_000.min(good.len());
    let mut state = 1u64;
    for _ in 0..2_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % header_len;
            bytes[at] ^= (state >> 20) as u8;
        }
        if let Ok(header) = parse::parse(&bytes) {
            for info in header.tensors.values() {
                assert!(info.start + info.bytes <= bytes.len());
            }
        }
    }
}

#[test]
fn a_missing_file_and_a_folder_are_read_errors() {
    let missing = GgufFile::open(Path::new("/nonexistent/model.gguf")).unwrap_err();
    assert!(
        missing.to_string().contains("/nonexistent/model.gguf"),
        "{missing}"
    );
    assert!(matches!(
        GgufFile::open(Path::new("/")),
        Err(GgufError::Read { .. })
    ));
}
