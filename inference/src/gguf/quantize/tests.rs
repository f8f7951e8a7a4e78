//! Small models through the quantizer: what becomes of tensors, metadata, and of the target when something is wrong.

use super::*;
use crate::gguf::{synthetic::SyntheticModel, writer::GgufWriter};

const OPTIONS: QuantizeOptions = QuantizeOptions {
    recipe: Recipe::Q4KM,
    allow_requantize: false,
    overwrite: false,
};

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new(model: &GgufWriter) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        model
            .write(&folder.path().join("in.gguf"))
            .expect("written");
        Self { folder }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out.gguf")
    }

    fn quantize(&self, options: QuantizeOptions) -> Result<QuantizeReport, QuantizeError> {
        quantize(
            &self.folder.path().join("in.gguf"),
            &self.output(),
            options,
            &mut |_| {},
        )
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

/// Widths of 256 and 512 beside widths of 96, which are no whole super-blocks.
fn model(ffn: usize) -> GgufWriter {
    SyntheticModel {
        hidden: 256,
        head_dim: 64,
        ffn,
        num_layers: 3,
        weights: candle_core::quantized::GgmlDType::F32,
        ..Default::default()
    }
    .to_writer()
    .expect("a model")
}

#[test]
fn tensors_are_rounded_by_the_recipe_and_the_rest_is_kept() {
    let mut writer = model(96);
    writer
        .set_u32("general.file_type", 0)
        .set_str("general.author", "someone");
    let case = Case::new(&writer);
    let report = case.quantize(OPTIONS).unwrap();
    let input = GgufFile::open(&case.folder.path().join("in.gguf")).unwrap();
    let output = GgufFile::open(&case.output()).unwrap();
    assert_eq!(output.file_bytes(), report.output_bytes);
    assert_eq!(input.file_bytes(), report.input_bytes);
    assert_eq!(
        (report.tensors, report.rounded),
        (input.tensors().len(), 1 + 3 * 7)
    );
    assert_eq!(report.fallbacks, 3);
    let expected = [
        ("token_embd.weight", "Q6_K"),
        ("blk.0.attn_q.weight", "Q4_K"),
        ("blk.0.attn_v.weight", "Q4_K"),
        ("blk.2.attn_v.weight", "Q6_K"),
        ("blk.2.ffn_down.weight", "Q8_0"),
        ("blk.1.ffn_down.weight", "Q5_0"),
        ("blk.0.attn_norm.weight", "F32"),
        ("output_norm.weight", "F32"),
    ];
    for (name, ggml_type) in expected {
        let tensor = output.tensor(name).unwrap();
        assert_eq!(tensor.ggml_type.name(), ggml_type, "{name}");
        assert_eq!(tensor.shape, input.tensor(name).unwrap().shape);
        let (before, after) = (
            input.dequantize_tensor(name).unwrap(),
            output.dequantize_tensor(name).unwrap(),
        );
        let squares = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>();
        let errors: Vec<f32> = before.iter().zip(&after).map(|(a, b)| a - b).collect();
        let relative = (squares(&errors) / squares(&before)).sqrt();
        assert!(relative < 0.08, "{name}: {relative}");
        assert_eq!(relative == 0.0, ggml_type == "F32", "{name}: {relative}");
    }
    assert_eq!(output.get_u32("general.file_type"), Some(15));
    assert_eq!(output.get_u32("general.quantization_version"), Some(2));
    assert_eq!(output.get_str("general.author"), Some("someone"));
    for (key, value) in input.metadata() {
        if key != "general.file_type" {
            assert_eq!(output.get(key), Some(value), "{key}");
        }
    }
    assert_eq!(case.files(), ["in.gguf", "out.gguf"]);
}

#[test]
fn the_result_does_not_depend_on_the_slabs_and_progress_ends_at_the_total() {
    let case = Case::new(&model(256));
    let mut seen = Vec::new();
    let input = case.folder.path().join("in.gguf");
    let report = quantize(&input, &case.output(), OPTIONS, &mut |progress| {
        seen.push((progress.weights_done, progress.weights));
    })
    .unwrap();
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&(report.weights, report.weights)));
    let file = GgufFile::open(&input).unwrap();
    let output = GgufFile::open(&case.output()).unwrap();
    for (name, info) in output.tensors() {
        let weights = file.dequantize_tensor(name).unwrap();
        let mut data = vec![0; info.bytes()];
        encode(info.ggml_type, &weights, &mut data).unwrap();
        assert_eq!(output.tensor_data(name).unwrap(), data, "{name}");
    }
}

#[test]
fn an_existing_file_is_replaced_only_on_demand() {
    let case = Case::new(&model(256));
    std::fs::write(case.output(), "precious").unwrap();
    let error = case.quantize(OPTIONS).unwrap_err();
    assert!(matches!(error, QuantizeError::Exists { .. }), "{error}");
    assert_eq!(std::fs::read(case.output()).unwrap(), b"precious");
    let options = QuantizeOptions {
        overwrite: true,
        ..OPTIONS
    };
    case.quantize(options).unwrap();
    assert!(GgufFile::open(&case.output()).is_ok());
}

#[test]
fn rounded_weights_are_rounded_again_only_on_demand() {
    let case = Case::new(&SyntheticModel::default().to_writer().unwrap());
    let error = case.quantize(OPTIONS).unwrap_err();
    assert!(
        error.to_string().contains("is Q8_0: it was rounded before"),
        "{error}"
    );
    assert_eq!(case.files(), ["in.gguf"]);
    // What has its type already is copied.
    let same = QuantizeOptions {
        recipe: Recipe::Q8_0,
        ..OPTIONS
    };
    assert_eq!(case.quantize(same).unwrap().rounded, 0);
    let again = QuantizeOptions {
        allow_requantize: true,
        overwrite: true,
        ..OPTIONS
    };
    assert!(case.quantize(again).unwrap().rounded > 0);
}

#[test]
fn nothing_is_left_behind_by_a_model_that_cannot_be_rounded() {
    let (nan, unknown) = (f32::NAN.to_le_bytes(), GgmlType(77));
    let mut not_finite = model(256);
    not_finite.tensor("x.weight", &[2, 1], GgmlType::F32, vec![0; 8]);
    not_finite.tensor("y.weight", &[2, 2], GgmlType::F32, [nan; 4].concat());
    let mut unknown_type = model(256);
    unknown_type.tensor("x.weight", &[2, 2], unknown, vec![0; 64]);
    let table = [
        (not_finite, "`y.weight` has weights that are not finite"),
        (unknown_type, "`x.weight` is of type type 77"),
    ];
    for (writer, reason) in table {
        let case = Case::new(&writer);
        let error = case.quantize(OPTIONS).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(case.files(), ["in.gguf"], "{reason}");
    }
}
