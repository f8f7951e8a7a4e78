//! `models quantize`: a small model becomes a smaller one, and mistakes say what helps.

use inference::gguf::{GgmlType, GgufFile, synthetic::SyntheticModel, writer::GgufWriter};

use crate::run::Place;

/// A model of F32 matrices, 256 wide.
fn write_model(place: &Place) {
    let frame = SyntheticModel {
        hidden: 256,
        head_dim: 64,
        ffn: 256,
        ..SyntheticModel::default()
    };
    let path = place.write("frame.gguf", "");
    frame.write(&path).unwrap();
    let frame = GgufFile::open(&path).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in frame.metadata() {
        writer.set(key, value.clone());
    }
    for (name, info) in frame.tensors() {
        let weights = frame.dequantize_tensor(name).unwrap();
        writer
            .encode(name, &info.shape, GgmlType::F32, &weights)
            .unwrap();
    }
    writer.write(&place.path("in.gguf")).unwrap();
}

#[test]
fn a_model_becomes_smaller_and_still_runs() {
    let place = Place::new();
    write_model(&place);
    let made = place.json(&[
        "models", "quantize", "in.gguf", "out.gguf", "--type", "q4_k_m",
    ]);
    let size = |name: &str| std::fs::metadata(place.path(name)).unwrap().len();
    assert_eq!(made["type"], "Q4_K_M");
    assert_eq!(made["input_bytes"], size("in.gguf"));
    assert_eq!(made["output_bytes"], size("out.gguf"));
    assert!(size("out.gguf") < size("in.gguf") / 4, "{made}");
    let file = GgufFile::open(&place.path("out.gguf")).unwrap();
    assert_eq!(
        file.tensor("blk.0.attn_q.weight").unwrap().ggml_type,
        GgmlType::Q4_K
    );
    let generated = place.json(&[
        "generate",
        "--model",
        "out.gguf",
        "--prompt",
        "the",
        "--max-tokens",
        "3",
    ]);
    assert!(generated["usage"].is_object(), "{generated}");
}

#[test]
fn mistakes_end_with_status_2_and_a_way_out() {
    let place = Place::new();
    write_model(&place);
    place.write("not.gguf", "text");
    let table: [(&[&str], &str); 5] = [
        (
            &["absent.gguf", "out.gguf", "--type", "q8_0"],
            "cannot read absent.gguf",
        ),
        (
            &["not.gguf", "out.gguf", "--type", "q8_0"],
            "is not a GGUF file",
        ),
        (&["in.gguf", "in.gguf", "--type", "q8_0"], "hint: --force"),
        (
            &["frame.gguf", "out.gguf", "--type", "q4_k_m"],
            "--allow-requantize",
        ),
        (
            &["in.gguf", "out.gguf", "--type", "q3_k_m"],
            "possible values: q8_0, q4_0, q4_k_m, q5_k_m",
        ),
    ];
    for (args, reason) in table {
        let finished = place.run(&[&["models", "quantize"], args].concat());
        assert_eq!(finished.code, Some(2), "{args:?}: {}", finished.stderr);
        assert!(
            finished.stderr.contains(reason),
            "{args:?}: {}",
            finished.stderr
        );
        assert!(!place.path("out.gguf").exists(), "{args:?}");
    }
    let replaced = place.run(&[
        "models", "quantize", "in.gguf", "in.gguf", "--type", "Q8_0", "--force",
    ]);
    assert_eq!(replaced.code, Some(0), "{}", replaced.stderr);
    assert!(
        replaced.stdout.contains("in.gguf is Q8_0"),
        "{}",
        replaced.stdout
    );
}
