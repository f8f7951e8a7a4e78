//! The rows. A parameter that a known client or server of this API has, and that would change the answer, is here.
//!
//! Sources: OpenAI's reference, and the names that llama.cpp's server, vLLM, SGLang, text-generation-inference,
//! text-embeddings-inference, text-generation-webui, KoboldAI, TabbyAPI, Transformers, Ollama, OpenRouter, Mistral's and Cohere's APIs
//! and the front ends that speak to them add.

use serde_json::Value;

use super::super::super::kind::Kind;
use super::Endpoint::{self, Chat, Completions, Embeddings};
use super::{Neutral, Parameter, Request, Rule};

const ALL: &[Endpoint] = &Endpoint::ALL;
const WRITTEN: &[Endpoint] = &[Chat, Completions];
const CHAT: &[Endpoint] = &[Chat];
const COMPLETIONS: &[Endpoint] = &[Completions];
const EMBEDDINGS: &[Endpoint] = &[Embeddings];

/// The rows of one endpoint, in the order in which they are checked.
pub(super) fn of(endpoint: Endpoint) -> impl Iterator<Item = &'static Parameter> {
    let groups = [READ, SPELLINGS, REFUSED, IGNORED];
    let rows = groups.into_iter().flatten();
    rows.filter(move |parameter| parameter.endpoints.contains(&endpoint))
}

const fn read(name: &'static str, endpoints: &'static [Endpoint], kind: Kind) -> Parameter {
    Parameter {
        name,
        endpoints,
        rule: Rule::Read(kind),
    }
}

const fn spelling(name: &'static str, of: &'static str, wins: bool) -> Parameter {
    Parameter {
        name,
        endpoints: WRITTEN,
        rule: Rule::Spelling { of, wins },
    }
}

const fn refused(
    name: &'static str,
    endpoints: &'static [Endpoint],
    unless: Neutral,
    because: &'static str,
) -> Parameter {
    Parameter {
        name,
        endpoints,
        rule: Rule::Refused { unless, because },
    }
}

const fn ignored(name: &'static str, endpoints: &'static [Endpoint]) -> Parameter {
    Parameter {
        name,
        endpoints,
        rule: Rule::Ignored,
    }
}

#[rustfmt::skip]
const READ: &[Parameter] = &[
    read("model", ALL, Kind::Text),
    read("messages", CHAT, Kind::List),
    read("prompt", COMPLETIONS, Kind::Input),
    read("input", EMBEDDINGS, Kind::Input),
    read("encoding_format", EMBEDDINGS, Kind::Text),
    read("truncate", EMBEDDINGS, Kind::Bool),
    read("collections", CHAT, Kind::Texts),
    read("stream", WRITTEN, Kind::Bool),
    read("stream_options", WRITTEN, Kind::Switches),
    read("n", WRITTEN, Kind::Integer),
    read("max_tokens", WRITTEN, Kind::Integer),
    read("stop", WRITTEN, Kind::TextOrTexts),
    read("ignore_eos", WRITTEN, Kind::Bool),
    read("seed", WRITTEN, Kind::Integer),
    read("logprobs", CHAT, Kind::Bool),
    read("logprobs", COMPLETIONS, Kind::Count),
    read("top_logprobs", CHAT, Kind::Count),
    read("temperature", WRITTEN, Kind::Number),
    read("top_p", WRITTEN, Kind::Number),
    read("top_k", WRITTEN, Kind::Integer),
    read("min_p", WRITTEN, Kind::Number),
    read("typical_p", WRITTEN, Kind::Number),
    read("top_n_sigma", WRITTEN, Kind::Number),
    read("xtc_probability", WRITTEN, Kind::Number),
    read("xtc_threshold", WRITTEN, Kind::Number),
    read("mirostat", WRITTEN, Kind::Count),
    read("mirostat_tau", WRITTEN, Kind::Number),
    read("mirostat_eta", WRITTEN, Kind::Number),
    read("repetition_penalty", WRITTEN, Kind::Number),
    read("repeat_last_n", WRITTEN, Kind::Integer),
    read("presence_penalty", WRITTEN, Kind::Number),
    read("frequency_penalty", WRITTEN, Kind::Number),
    read("dry_multiplier", WRITTEN, Kind::Number),
    read("dry_base", WRITTEN, Kind::Number),
    read("dry_allowed_length", WRITTEN, Kind::Count),
    read("dry_penalty_last_n", WRITTEN, Kind::Integer),
    read("dry_sequence_breakers", WRITTEN, Kind::Texts),
    read("logit_bias", WRITTEN, Kind::Biases),
    read("banned_strings", WRITTEN, Kind::Texts),
];

const SPELLINGS: &[Parameter] = &[
    spelling("n_predict", "max_tokens", false),
    // OpenAI's newer name.
    spelling("max_completion_tokens", "max_tokens", true),
    // Anthropic's, of completions.
    spelling("max_tokens_to_sample", "max_tokens", false),
    spelling("repeat_penalty", "repetition_penalty", false),
    // KoboldAI's.
    spelling("rep_pen", "repetition_penalty", false),
    spelling("typical", "typical_p", false),
    // Aphrodite's and KoboldCpp's.
    spelling("nsigma", "top_n_sigma", false),
    // SGLang's.
    spelling("sampling_seed", "seed", false),
];

const IN_TEXT: &str = "the model answers in text";
const NO_FORM: &str = "answers are not forced into a form";
const OWN_TEMPLATE: &str = "a chat is rendered by the model's own template as it is";
const NO_SEARCH: &str = "the model does not search the web";
const NO_LEVELS: &str = "how much a model reasons cannot be set";
const ONLY_ANSWERS: &str = "only tokens of the answer are reported";
const NO_IDS: &str = "answers are reported as text";
const OTHER_SAMPLER: &str = "there is no such sampler";
const OTHER_LIMIT: &str = "an answer is limited by max_tokens";
const NO_ADAPTERS: &str = "the model has no adapters";
const OTHER_ORDER: &str = "samplers apply in a fixed order";

#[rustfmt::skip]
const REFUSED: &[Parameter] = &[
    refused("tools", CHAT, Neutral::When(no_tools, "send tool_choice \"none\""), IN_TEXT),
    refused("tool_choice", CHAT, Neutral::When(is_free_choice, "send \"none\""), IN_TEXT),
    refused("functions", CHAT, Neutral::When(no_functions, "send function_call \"none\""), IN_TEXT),
    refused("function_call", CHAT, Neutral::When(is_free_choice, "send \"none\""), IN_TEXT),
    refused("modalities", CHAT, Neutral::When(is_text_only, "send [\"text\"]"), IN_TEXT),
    refused("audio", CHAT, Neutral::Null, IN_TEXT),
    refused("web_search_options", CHAT, Neutral::Null, NO_SEARCH),
    refused("search_parameters", WRITTEN, Neutral::When(is_no_search, "send {\"mode\": \"off\"}"), NO_SEARCH),
    refused("response_format", WRITTEN, Neutral::When(is_text_format, "send {\"type\": \"text\"}"), NO_FORM),
    refused("grammar", WRITTEN, Neutral::Empty, NO_FORM),
    refused("json_schema", WRITTEN, Neutral::Null, NO_FORM),
    refused("structured_outputs", WRITTEN, Neutral::Null, NO_FORM),
    refused("structural_tag", WRITTEN, Neutral::Null, NO_FORM),
    // Ollama's.
    refused("format", WRITTEN, Neutral::Empty, NO_FORM),
    refused("grammar_string", WRITTEN, Neutral::Empty, NO_FORM),
    refused("guided_json", WRITTEN, Neutral::Null, NO_FORM),
    refused("guided_regex", WRITTEN, Neutral::Null, NO_FORM),
    refused("guided_choice", WRITTEN, Neutral::Null, NO_FORM),
    refused("guided_grammar", WRITTEN, Neutral::Null, NO_FORM),
    refused("guided_json_object", WRITTEN, Neutral::False, NO_FORM),
    refused("guided_decoding", WRITTEN, Neutral::Null, NO_FORM),
    refused("response_schema", WRITTEN, Neutral::Null, NO_FORM),
    refused("regex", WRITTEN, Neutral::Null, NO_FORM),
    refused("ebnf", WRITTEN, Neutral::Null, NO_FORM),
    refused("verbosity", CHAT, Neutral::Text("medium"), "how long a model answers cannot be set"),
    refused("reasoning_effort", CHAT, Neutral::Null, NO_LEVELS),
    refused("reasoning", CHAT, Neutral::Null, NO_LEVELS),
    refused("reasoning_budget", CHAT, Neutral::Is(-1.0), NO_LEVELS),
    refused("thinking", CHAT, Neutral::Null, NO_LEVELS),
    refused("thinking_budget", CHAT, Neutral::Null, NO_LEVELS),
    refused("thinking_token_budget", CHAT, Neutral::Null, NO_LEVELS),
    refused("enable_thinking", CHAT, Neutral::Null, NO_LEVELS),
    refused("think", CHAT, Neutral::Null, NO_LEVELS),
    refused("include_reasoning", CHAT, Neutral::True, "reasoning is always reported, apart from the answer"),
    refused("separate_reasoning", CHAT, Neutral::True, "reasoning is always reported, apart from the answer"),
    refused("reasoning_format", CHAT, Neutral::When(is_apart, "send \"auto\""), "reasoning is always reported, apart from the answer"),
    refused("chat_template", CHAT, Neutral::Null, OWN_TEMPLATE),
    refused("chat_template_kwargs", CHAT, Neutral::Empty, OWN_TEMPLATE),
    refused("add_generation_prompt", CHAT, Neutral::True, OWN_TEMPLATE),
    refused("continue_final_message", CHAT, Neutral::False, "an answer is always a turn of its own"),
    refused("documents", CHAT, Neutral::Empty, "documents are asked by `collections`"),
    // Of other APIs, where it is a message here.
    refused("system", WRITTEN, Neutral::Empty, "instructions are a message of the role system"),
    refused("instructions", WRITTEN, Neutral::Empty, "instructions are a message of the role system"),
    refused("previous_response_id", WRITTEN, Neutral::Null, "earlier answers are not kept; send them as messages"),
    refused("safe_prompt", WRITTEN, Neutral::False, "instructions are a message of the role system"),
    refused("options", WRITTEN, Neutral::Empty, "every option is a parameter of its own"),
    refused("vllm_xargs", WRITTEN, Neutral::Empty, "every option is a parameter of its own"),
    // OpenRouter's.
    refused("models", WRITTEN, Neutral::Empty, "one model answers; name it as model"),
    refused("plugins", WRITTEN, Neutral::Empty, "there are no plugins"),
    refused("transforms", WRITTEN, Neutral::Empty, "a prompt is never cut without a word; shorten it"),
    refused("suffix", WRITTEN, Neutral::Empty, "text is continued at its end only"),
    refused("echo", WRITTEN, Neutral::False, "the answer does not repeat the prompt"),
    refused("best_of", WRITTEN, Neutral::When(is_all_of_them, "send the same as n"), "every answer is returned"),
    refused("min_keep", WRITTEN, Neutral::Is(0.0), OTHER_SAMPLER),
    refused("n_cmpl", WRITTEN, Neutral::Is(1.0), "the number of answers is set by n"),
    refused("num_return_sequences", WRITTEN, Neutral::Is(1.0), "the number of answers is set by n"),
    refused("response_fields", WRITTEN, Neutral::Empty, "an answer has all its fields"),
    refused("use_beam_search", WRITTEN, Neutral::False, OTHER_SAMPLER),
    refused("num_beams", WRITTEN, Neutral::Is(1.0), OTHER_SAMPLER),
    refused("do_sample", WRITTEN, Neutral::True, "the best token is always chosen at temperature 0"),
    refused("max_new_tokens", WRITTEN, Neutral::Null, OTHER_LIMIT),
    refused("max_output_tokens", WRITTEN, Neutral::Null, OTHER_LIMIT),
    refused("num_predict", WRITTEN, Neutral::Null, OTHER_LIMIT),
    refused("max_length", WRITTEN, Neutral::Null, OTHER_LIMIT),
    refused("num_ctx", WRITTEN, Neutral::Null, "the context is what the model and the settings of the server give"),
    refused("random_seed", WRITTEN, Neutral::Null, "the random numbers are set by seed"),
    refused("min_tokens", WRITTEN, Neutral::Is(0.0), "the model ends an answer when it likes"),
    refused("min_new_tokens", WRITTEN, Neutral::Is(0.0), "the model ends an answer when it likes"),
    refused("min_length", WRITTEN, Neutral::Is(0.0), "the model ends an answer when it likes"),
    refused("ban_eos_token", WRITTEN, Neutral::False, "end tokens are passed by ignore_eos"),
    refused("stop_regex", WRITTEN, Neutral::Empty, "answers end by texts; use stop"),
    refused("stopping_strings", WRITTEN, Neutral::Empty, "texts that end an answer are set by stop"),
    refused("stop_sequences", WRITTEN, Neutral::Empty, "texts that end an answer are set by stop"),
    refused("no_stop_trim", WRITTEN, Neutral::False, "a stop text is never part of the answer"),
    refused("stop_token_ids", WRITTEN, Neutral::Empty, "answers end by texts; use stop"),
    refused("include_stop_str_in_output", WRITTEN, Neutral::False, "a stop text is never part of the answer"),
    refused("skip_special_tokens", WRITTEN, Neutral::True, "control tokens are never part of the answer"),
    refused("add_special_tokens", CHAT, Neutral::False, OWN_TEMPLATE),
    refused("add_bos_token", WRITTEN, Neutral::True, "a prompt begins as the model's prompts do"),
    refused("token_healing", WRITTEN, Neutral::False, "the last token of a prompt stays as it is"),
    refused("add_special_tokens", COMPLETIONS, Neutral::True, "a prompt begins as the model's prompts do"),
    refused("truncate_prompt_tokens", ALL, Neutral::Null, "a prompt is never cut without a word; shorten it"),
    refused("truncate", WRITTEN, Neutral::Null, "a prompt is never cut without a word; shorten it"),
    refused("truncation", ALL, Neutral::Text("disabled"), "a prompt is never cut without a word; shorten it"),
    refused("return_full_text", WRITTEN, Neutral::False, "the answer does not repeat the prompt"),
    refused("decoder_input_details", WRITTEN, Neutral::False, ONLY_ANSWERS),
    refused("top_n_tokens", WRITTEN, Neutral::Is(0.0), "log-probabilities are asked by logprobs"),
    refused("prompt_logprobs", WRITTEN, Neutral::Null, ONLY_ANSWERS),
    refused("n_probs", WRITTEN, Neutral::Is(0.0), "log-probabilities are asked by logprobs"),
    refused("post_sampling_probs", WRITTEN, Neutral::False, "log-probabilities are those before the samplers"),
    refused("return_token_ids", WRITTEN, Neutral::False, NO_IDS),
    refused("return_tokens", WRITTEN, Neutral::False, NO_IDS),
    refused("return_tokens_as_token_ids", WRITTEN, Neutral::False, NO_IDS),
    refused("allowed_token_ids", WRITTEN, Neutral::Empty, "tokens are forbidden one by one; use logit_bias"),
    refused("bad_words", WRITTEN, Neutral::Empty, "texts are forbidden by banned_strings"),
    refused("suppress_tokens", WRITTEN, Neutral::Empty, "tokens are forbidden one by one; use logit_bias"),
    refused("logits_processors", WRITTEN, Neutral::Empty, OTHER_SAMPLER),
    refused("custom_logit_processor", WRITTEN, Neutral::Empty, OTHER_SAMPLER),
    refused("custom_token_bans", WRITTEN, Neutral::Empty, "tokens are forbidden one by one; use logit_bias"),
    refused("banned_tokens", WRITTEN, Neutral::Empty, "tokens are forbidden one by one; use logit_bias"),
    refused("bad_words_ids", WRITTEN, Neutral::Empty, "texts are forbidden by banned_strings"),
    refused("force_words_ids", WRITTEN, Neutral::Empty, "no words are forced into an answer"),
    refused("watermark", WRITTEN, Neutral::False, OTHER_SAMPLER),
    refused("mirostat_mode", WRITTEN, Neutral::Is(0.0), "Mirostat is set by mirostat"),
    refused("no_repeat_ngram_size", WRITTEN, Neutral::Is(0.0), "repetitions are held down by dry_multiplier"),
    refused("repetition_penalty_range", WRITTEN, Neutral::Is(0.0), "the range of the penalties is set by repeat_last_n"),
    refused("rep_pen_range", WRITTEN, Neutral::Is(0.0), "the range of the penalties is set by repeat_last_n"),
    refused("encoder_repetition_penalty", WRITTEN, Neutral::Is(1.0), OTHER_SAMPLER),
    refused("samplers", WRITTEN, Neutral::Empty, OTHER_ORDER),
    refused("sampler_order", WRITTEN, Neutral::Empty, OTHER_ORDER),
    refused("sampler_priority", WRITTEN, Neutral::Empty, OTHER_ORDER),
    refused("temperature_last", WRITTEN, Neutral::True, OTHER_ORDER),
    refused("dynatemp_range", WRITTEN, Neutral::Is(0.0), OTHER_SAMPLER),
    refused("dynamic_temperature", WRITTEN, Neutral::False, OTHER_SAMPLER),
    // The bounds of TabbyAPI's dynamic temperature.
    refused("min_temp", WRITTEN, Neutral::Is(1.0), OTHER_SAMPLER),
    refused("max_temp", WRITTEN, Neutral::Is(1.0), OTHER_SAMPLER),
    refused("smoothing_factor", WRITTEN, Neutral::Is(0.0), OTHER_SAMPLER),
    refused("tfs_z", WRITTEN, Neutral::Is(1.0), OTHER_SAMPLER),
    refused("tfs", WRITTEN, Neutral::Is(1.0), OTHER_SAMPLER),
    refused("skew", WRITTEN, Neutral::Is(0.0), OTHER_SAMPLER),
    refused("top_a", WRITTEN, Neutral::Is(0.0), OTHER_SAMPLER),
    refused("epsilon_cutoff", WRITTEN, Neutral::Is(0.0), OTHER_SAMPLER),
    refused("eta_cutoff", WRITTEN, Neutral::Is(0.0), OTHER_SAMPLER),
    refused("adaptive_target", WRITTEN, Neutral::Is(-1.0), OTHER_SAMPLER),
    refused("adaptive_decay", WRITTEN, Neutral::Is(0.9), OTHER_SAMPLER),
    refused("penalty_alpha", WRITTEN, Neutral::Is(0.0), OTHER_SAMPLER),
    refused("guidance_scale", WRITTEN, Neutral::Is(1.0), OTHER_SAMPLER),
    refused("negative_prompt", WRITTEN, Neutral::Empty, OTHER_SAMPLER),
    refused("n_indent", WRITTEN, Neutral::Is(0.0), "lines are not held to an indentation"),
    refused("t_max_predict_ms", WRITTEN, Neutral::When(is_no_limit, "send 0"), OTHER_LIMIT),
    refused("lora", WRITTEN, Neutral::Empty, NO_ADAPTERS),
    refused("lora_path", WRITTEN, Neutral::Empty, NO_ADAPTERS),
    refused("lora_request", WRITTEN, Neutral::Null, NO_ADAPTERS),
    refused("image_data", WRITTEN, Neutral::Empty, IN_TEXT),
    refused("images", WRITTEN, Neutral::Empty, IN_TEXT),
    refused("prompt_embeds", WRITTEN, Neutral::Null, "a prompt is text or token ids"),
    refused("dimensions", WRITTEN, Neutral::Null, "an answer is a text and no vector"),
    refused("dimensions", EMBEDDINGS, Neutral::When(is_whole_vector, "send the length of the model's vectors"), "vectors have the length that the model makes"),
    refused("output_dimension", EMBEDDINGS, Neutral::When(is_whole_vector, "send the length of the model's vectors"), "vectors have the length that the model makes"),
    refused("output_dtype", EMBEDDINGS, Neutral::Text("float"), "vectors are of floating-point numbers"),
    refused("embedding_types", EMBEDDINGS, Neutral::When(is_float_only, "send [\"float\"]"), "vectors are of floating-point numbers"),
    refused("prompt_name", EMBEDDINGS, Neutral::Null, "nothing is put before a text"),
    refused("truncation_direction", EMBEDDINGS, Neutral::When(is_right, "send \"right\""), "a text that is too long is cut at its end"),
    refused("normalize", EMBEDDINGS, Neutral::True, "vectors always have the length 1"),
    refused("embd_normalize", EMBEDDINGS, Neutral::Is(2.0), "vectors always have the length 1"),
];

#[rustfmt::skip]
const IGNORED: &[Parameter] = &[
    ignored("user", ALL),
    ignored("safety_identifier", ALL),
    ignored("metadata", ALL),
    ignored("store", WRITTEN),
    ignored("service_tier", WRITTEN),
    ignored("parallel_tool_calls", CHAT),
    ignored("prediction", CHAT),
    ignored("prompt_cache_key", WRITTEN),
    ignored("prompt_cache_retention", WRITTEN),
    ignored("cache_prompt", WRITTEN),
    ignored("cache_salt", WRITTEN),
    ignored("id_slot", WRITTEN),
    ignored("n_keep", WRITTEN),
    ignored("timings_per_token", WRITTEN),
    ignored("return_progress", WRITTEN),
    ignored("guided_decoding_backend", WRITTEN),
    ignored("guided_whitespace_pattern", WRITTEN),
    ignored("spaces_between_special_tokens", WRITTEN),
    // Of beams and dynamic temperature, which are refused.
    ignored("length_penalty", WRITTEN),
    ignored("early_stopping", WRITTEN),
    ignored("dynatemp_exponent", WRITTEN),
    ignored("smoothing_curve", WRITTEN),
    ignored("priority", ALL),
    ignored("request_id", ALL),
    ignored("keep_alive", ALL),
    // The model reads questions and passages alike.
    ignored("input_type", EMBEDDINGS),
];

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn no_tools(tools: &Value, request: &Request) -> bool {
    is_empty_list(tools)
        || request
            .body
            .get("tool_choice")
            .is_some_and(|choice| choice == "none")
}

fn no_functions(functions: &Value, request: &Request) -> bool {
    is_empty_list(functions)
        || request
            .body
            .get("function_call")
            .is_some_and(|choice| choice == "none")
}

/// Tools that may be called but need not. Where there are tools to call, those are refused.
fn is_free_choice(choice: &Value, _: &Request) -> bool {
    choice == "none" || choice == "auto"
}

fn is_text_format(format: &Value, _: &Request) -> bool {
    format["type"] == "text"
}

fn is_no_search(parameters: &Value, _: &Request) -> bool {
    parameters["mode"] == "off"
}

fn is_float_only(types: &Value, _: &Request) -> bool {
    types
        .as_array()
        .is_some_and(|types| types.iter().all(|kind| kind == "float"))
}

fn is_right(direction: &Value, _: &Request) -> bool {
    direction
        .as_str()
        .is_some_and(|direction| direction.eq_ignore_ascii_case("right"))
}

fn is_text_only(modalities: &Value, _: &Request) -> bool {
    modalities
        .as_array()
        .is_some_and(|modalities| modalities.iter().all(|modality| modality == "text"))
}

/// Reasoning in a field of its own.
fn is_apart(format: &Value, _: &Request) -> bool {
    ["auto", "deepseek", "parsed"]
        .iter()
        .any(|apart| format == apart)
}

/// As many candidates as answers are asked for.
fn is_all_of_them(best_of: &Value, request: &Request) -> bool {
    let n = request.body.get("n").map_or(Some(1.0), Value::as_f64);
    best_of.as_f64().is_some() && (best_of.as_f64() == n || best_of.as_f64() == Some(1.0))
}

fn is_no_limit(limit: &Value, _: &Request) -> bool {
    limit.as_f64().is_some_and(|limit| limit <= 0.0)
}

fn is_whole_vector(dimensions: &Value, request: &Request) -> bool {
    dimensions.as_f64() == Some(request.dimensions as f64)
}
