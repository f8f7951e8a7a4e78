//! A file of every kind of value and several kinds of tensors, one of them unknown.

use crate::gguf::{Array, GgmlType, Value, writer::GgufWriter};

/// Returns a small file that holds something of everything the format has, for what damages or searches.
pub fn everything() -> GgufWriter {
    let mut writer = GgufWriter::new();
    let nested = Array::Array(vec![
        Array::Array(vec![Array::U8(vec![1, 2])]),
        Array::Array(vec![]),
    ]);
    let values = [
        Value::U8(1),
        Value::I8(-1),
        Value::U16(2),
        Value::I16(-2),
        Value::U32(3),
        Value::I32(-3),
        Value::F32(0.5),
        Value::Bool(true),
        Value::String("text".into()),
        Value::U64(4),
        Value::I64(-4),
        Value::F64(0.25),
        Value::Array(Array::U8(vec![1, 2, 3])),
        Value::Array(Array::I16(vec![1; 5])),
        Value::Array(Array::F64(vec![0.5; 3])),
        Value::Array(Array::Bool(vec![true, false])),
        Value::Array(Array::String(vec!["a".into(), String::new()])),
        Value::Array(nested),
    ];
    for (index, value) in values.into_iter().enumerate() {
        writer.set(&format!("key.{index}"), value);
    }
    writer.set_u32("general.alignment", 32);
    for (index, (kind, bytes)) in [(0, 24 * 4), (1, 24 * 2), (24, 24), (30, 24 * 2), (99, 24)]
        .into_iter()
        .enumerate()
    {
        writer.tensor(
            &format!("tensor.{index}"),
            &[2, 3, 4],
            GgmlType(kind),
            vec![0; bytes],
        );
    }
    writer
}
