//! What engines get wrong about models without anybody noticing, a test each. That the right thing is done follows from
//! the comparison with transformers and llama.cpp ([`crate::architectures`]); these show that it would be noticed.

use std::collections::BTreeMap;

use candle_core::quantized::GgmlDType;
use inference::{
    GgufFile,
    gguf::{
        GgmlType, Value,
        synthetic::{SyntheticExperts, SyntheticModel, catalogue},
        writer::GgufWriter,
    },
    model::ModelConfig,
};

use crate::architectures::{largest_difference, logits, text};
use crate::common::{TinyModel, tiny};

/// Longer than windows, first contexts and blocks.
const NUM_TOKENS: usize = 100;

fn known(name: &str) -> SyntheticModel {
    let mut models: BTreeMap<&str, SyntheticModel> = catalogue().into_iter().collect();
    models.remove(name).unwrap_or_else(|| panic!("no `{name}`"))
}

fn run(model: &TinyModel) -> Vec<Vec<f32>> {
    logits(model, &text(NUM_TOKENS), 512, NUM_TOKENS)
}

/// Writes the model, its metadata changed.
fn with_keys(model: &SyntheticModel, change: &dyn Fn(&mut GgufWriter)) -> TinyModel {
    let mut writer = model.to_writer().unwrap();
    change(&mut writer);
    let file = tiny(model);
    writer.write(&file.path).unwrap();
    file
}

/// A tensor of f32: its shape and its weights.
type Weights = (Vec<usize>, Vec<f32>);

/// Writes the model, its metadata and its f32 tensors changed.
fn with_tensors(
    model: &SyntheticModel,
    change: &dyn Fn(&mut GgufWriter, &mut BTreeMap<String, Weights>),
) -> TinyModel {
    let file = tiny(model);
    let gguf = GgufFile::open(&file.path).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        writer.set(key, value.clone());
    }
    let read = |name: &String| {
        let info = gguf.tensor(name).unwrap();
        assert_eq!(info.ggml_type, GgmlType::F32);
        let bytes = gguf.tensor_data(name).unwrap().chunks_exact(4);
        let weights = bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        (name.clone(), (info.shape.clone(), weights.collect()))
    };
    let mut tensors: BTreeMap<String, Weights> = gguf.tensors().keys().map(read).collect();
    change(&mut writer, &mut tensors);
    for (name, (shape, weights)) in &tensors {
        writer
            .quantize(name, shape, GgmlDType::F32, weights)
            .unwrap();
    }
    drop(gguf);
    writer.write(&file.path).unwrap();
    file
}

/// Checks that a change of a model's file moves the last logits by more than programs differ.
fn check_it_matters(what: &str, before: &SyntheticModel, after: &TinyModel) {
    let (before, after) = (run(&tiny(before)), run(after));
    let difference = largest_difference(&before[NUM_TOKENS - 1], &after[NUM_TOKENS - 1]);
    assert!(difference > 1e-2, "{what} moves logits by {difference}");
}

#[test]
fn pitfall_01_which_elements_rope_turns_together() {
    let llama = known("llama");
    let halves = SyntheticModel {
        architecture: "qwen2",
        ..llama.clone()
    };
    // Without the biases the two architectures differ in nothing else.
    let unbiased = with_tensors(&halves, &|_, tensors| {
        tensors.retain(|name, _| !name.ends_with(".bias"));
    });
    check_it_matters("the pairing", &llama, &unbiased);
}

#[test]
fn pitfall_02_rope_scaling_in_all_its_forms() {
    let cases: [(&str, &str, Option<Value>); 8] = [
        ("llama-linear", "llama.rope.scaling.factor", None),
        (
            "llama-linear",
            "llama.rope.scaling.type",
            Some(Value::String("none".into())),
        ),
        ("llama-yarn", "llama.rope.scaling.factor", None),
        (
            "llama-yarn",
            "llama.rope.scaling.type",
            Some(Value::String("linear".into())),
        ),
        (
            "llama-yarn",
            "llama.rope.scaling.original_context_length",
            None,
        ),
        (
            "mistral3",
            "mistral3.rope.scaling.yarn_log_multiplier",
            None,
        ),
        ("phi3-long", "phi3.rope.scaling.attn_factor", None),
        ("gemma3", "gemma3.rope.scaling.factor", None),
    ];
    for (name, key, value) in cases {
        let model = known(name);
        let changed = with_keys(&model, &|writer| {
            match &value {
                Some(value) => writer.set(key, value.clone()),
                None => writer.remove(key),
            };
        });
        check_it_matters(&format!("{key} of {name}"), &model, &changed);
    }
    for (name, tensor) in [("llama3", "rope_freqs"), ("phi3-long", "rope_factors_long")] {
        let changed = with_tensors(&known(name), &|_, tensors| {
            assert!(tensors.remove(&format!("{tensor}.weight")).is_some());
        });
        check_it_matters(tensor, &known(name), &changed);
    }
}

#[test]
fn pitfall_03_head_sizes_and_heads_of_each_layer_come_from_their_keys() {
    // 6 heads of 20 beside a hidden size of 64.
    let file = tiny(&known("llama-gqa"));
    let config = ModelConfig::from_gguf(&GgufFile::open(&file.path).unwrap()).unwrap();
    assert_eq!((config.hidden, config.head_dim), (64, 20));
    // A layer whose two key heads are written as four is the layer it was.
    let model = known("llama-gqa");
    let model = SyntheticModel {
        num_heads: 4,
        ..model
    };
    let uneven = with_tensors(&model, &|writer, tensors| {
        let heads = inference::gguf::Array::U32(vec![2, 4]);
        writer.set("llama.attention.head_count_kv", Value::Array(heads));
        repeat_heads(tensors, "blk.1.", (2, 2));
    });
    for (before, after) in run(&tiny(&model)).iter().zip(&run(&uneven)) {
        assert!(largest_difference(before, after) < 1e-5);
    }
}

/// Writes each of `heads` key and value heads of a layer `times` times.
fn repeat_heads(
    tensors: &mut BTreeMap<String, Weights>,
    layer: &str,
    (heads, times): (usize, usize),
) {
    for part in ["attn_k", "attn_v"] {
        let (shape, weights) = tensors.get_mut(&format!("{layer}{part}.weight")).unwrap();
        let head_len = weights.len() / heads;
        let repeated = weights.chunks(head_len).map(|head| head.repeat(times));
        *weights = repeated.collect::<Vec<_>>().concat();
        shape[0] *= times;
    }
}

#[test]
fn pitfall_12_both_layouts_of_experts_and_routers_of_any_type() {
    let [stacked, split] = ["mixtral", "mixtral-split"].map(|name| run(&tiny(&known(name))));
    assert_eq!(stacked, split);
    let model = known("mixtral");
    let experts = model.experts.unwrap();
    // A router of f16 that holds the same numbers.
    let rounded = SyntheticModel {
        experts: Some(SyntheticExperts {
            router: GgmlDType::F16,
            ..experts
        }),
        ..model.clone()
    };
    let widened = with_tensors(&model, &|_, tensors| {
        for (name, (_, weights)) in tensors.iter_mut() {
            if name.contains("ffn_gate_inp") {
                let round = |weight: &mut f32| *weight = half::f16::from_f32(*weight).to_f32();
                weights.iter_mut().for_each(round);
            }
        }
    });
    assert_eq!(run(&tiny(&rounded)), run(&widened));
    let other = with_keys(&model, &|writer| {
        writer.set_u32("llama.expert_used_count", 3);
    });
    check_it_matters("a third expert", &model, &other);
}

#[test]
fn pitfall_13_a_token_beyond_the_window_is_not_seen() {
    const WINDOW: usize = 24;
    const CHANGED: usize = 40;
    let model = SyntheticModel {
        num_layers: 1,
        ..known("mistral")
    };
    assert_eq!(model.window, Some(WINDOW));
    let file = tiny(&model);
    let mut other = text(NUM_TOKENS);
    other[CHANGED] += 1;
    for chunk in [NUM_TOKENS, 1, 30] {
        let before = logits(&file, &text(NUM_TOKENS), 512, chunk);
        let after = logits(&file, &other, 512, chunk);
        for (position, (before, after)) in before.iter().zip(&after).enumerate() {
            let sees_it = (CHANGED..CHANGED + WINDOW).contains(&position);
            assert_eq!(before != after, sees_it, "position {position}");
        }
    }
    // Gemma's last layer of each period has no window.
    let gemma = known("gemma2");
    let windowless = with_keys(&gemma, &|writer| {
        writer.set_u32("gemma2.attention.sliding_window", 512);
    });
    check_it_matters("gemma2's window", &gemma, &windowless);
    let everywhere = with_keys(&gemma, &|writer| {
        writer.set_u32("gemma2.attention.sliding_window_pattern", 0);
    });
    check_it_matters("gemma2's pattern", &gemma, &everywhere);
}

#[test]
fn pitfall_14_query_heads_share_key_heads_in_blocks() {
    for (num_heads, num_kv_heads) in [(6, 2), (28, 4), (10, 2)] {
        let model = SyntheticModel {
            num_heads,
            num_kv_heads,
            num_layers: 1,
            ..known("llama")
        };
        let group = num_heads / num_kv_heads;
        // Every query head with a copy of its key head.
        let ungrouped = with_tensors(&model, &|writer, tensors| {
            writer.set_u32("llama.attention.head_count_kv", num_heads as u32);
            repeat_heads(tensors, "blk.0.", (num_kv_heads, group));
        });
        for (before, after) in run(&tiny(&model)).iter().zip(&run(&ungrouped)) {
            assert!(largest_difference(before, after) < 1e-5);
        }
    }
}

#[test]
fn pitfall_15_a_missing_output_matrix_is_the_embedding() {
    let tied = known("llama-tied");
    let untied = with_tensors(&tied, &|_, tensors| {
        let embedding = tensors["token_embd.weight"].clone();
        tensors.insert("output.weight".into(), embedding);
    });
    assert_eq!(run(&tiny(&tied)), run(&untied));
}

#[test]
fn pitfall_16_epsilon_and_scales_come_from_the_file() {
    let cases = [
        ("llama", "llama.attention.layer_norm_rms_epsilon", 0.2),
        ("granite", "granite.embedding_scale", 1.0),
        ("granite", "granite.residual_scale", 1.0),
        ("granite", "granite.attention.scale", 1.0),
        ("granite", "granite.logit_scale", 1.0),
        ("mistral3", "mistral3.attention.temperature_scale", 0.0),
        ("gemma2", "gemma2.attn_logit_softcapping", 50.0),
        ("gemma2", "gemma2.final_logit_softcapping", 1.0),
    ];
    for (name, key, value) in cases {
        let model = known(name);
        let changed = with_keys(&model, &|writer| {
            writer.set_f32(key, value);
        });
        check_it_matters(key, &model, &changed);
    }
}
