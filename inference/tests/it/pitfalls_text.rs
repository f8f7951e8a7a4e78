//! Mistakes that engines make with text, by the numbers of the project's list, each with a test that it is not made here.

use inference::{
    AddSpecial, ChatMessage, ChatTemplate, ChatTemplateError, Conversation, Detokenizer, PromptEnd,
    Role, StopMatcher, Tokenizer, TokenizerSource, ToolCall, Turn,
};
use serde_json::json;

const NORMAL: u32 = 1;
const UNKNOWN: u32 = 2;
const CONTROL: u32 = 3;
const USER_DEFINED: u32 = 4;
const BYTE: u32 = 6;

/// A SentencePiece vocabulary: three special tokens, the bytes, and `pieces` with their scores and types.
fn spm(pieces: &[(&str, f32, u32)]) -> TokenizerSource {
    let special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
        .map(|(text, kind)| (text.to_owned(), 0.0, kind));
    let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), 0.0, BYTE));
    let pieces = pieces
        .iter()
        .map(|&(text, score, kind)| (text.to_owned(), score, kind));
    let all: Vec<(String, f32, u32)> = special.into_iter().chain(bytes).chain(pieces).collect();
    TokenizerSource {
        model: "llama".into(),
        tokens: all.iter().map(|(text, ..)| text.clone()).collect(),
        scores: Some(all.iter().map(|&(_, score, _)| score).collect()),
        token_types: Some(all.iter().map(|&(.., kind)| kind).collect()),
        ..TokenizerSource::default()
    }
}

fn spm_of_letters() -> TokenizerSource {
    spm(&[
        ("▁", -9.0, NORMAL),
        ("a", -9.0, NORMAL),
        ("b", -9.0, NORMAL),
        ("▁a", -1.0, NORMAL),
        ("<think>", 0.0, USER_DEFINED),
        ("<|eot_id|>", 0.0, NORMAL),
        ("[INST]", 0.0, CONTROL),
    ])
}

/// A byte-level vocabulary of the letters, `merges`, and tokens of their own.
fn byte_level(pre: &str, merges: &[&str], more: &[(&str, u32)]) -> TokenizerSource {
    let letters = ('a'..='z')
        .chain(['Ġ', '<', '>', '|', '_'])
        .map(|c| c.to_string());
    let merged = merges.iter().map(|merge| merge.replace(' ', ""));
    let mut tokens: Vec<String> = letters.chain(merged).collect();
    let mut token_types = vec![NORMAL; tokens.len()];
    for &(text, kind) in more {
        tokens.push(text.to_owned());
        token_types.push(kind);
    }
    TokenizerSource {
        model: "gpt2".into(),
        pre: Some(pre.into()),
        tokens,
        token_types: Some(token_types),
        merges: merges.iter().map(|&merge| merge.to_owned()).collect(),
        bos_token_id: Some(0),
        ..TokenizerSource::default()
    }
}

fn new(source: TokenizerSource) -> Tokenizer {
    Tokenizer::new(source).unwrap()
}

fn spelled(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let text = |&id: &u32| tokenizer.token_text(id).unwrap().to_owned();
    ids.iter().map(text).collect()
}

fn words(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    spelled(tokenizer, &tokenizer.encode(text, AddSpecial::No))
}

fn user(content: &str) -> ChatMessage {
    ChatMessage::new(Role::User, content)
}

fn render(template: &str, conversation: &Conversation) -> Result<String, ChatTemplateError> {
    let clock = || "2024-07-26T10:00:00+00:00[UTC]".parse().unwrap();
    ChatTemplate::with_clock(Some(template), clock)
        .unwrap()
        .text(&new(spm_of_letters()), conversation)
}

#[test]
fn pitfall_04_bos_is_not_doubled() {
    for (name, source, adds_bos) in [
        ("SentencePiece", spm_of_letters(), true),
        ("llama-bpe", byte_level("llama-bpe", &[], &[]), true),
        ("tekken", byte_level("tekken", &[], &[]), true),
        ("qwen2", byte_level("qwen2", &[], &[]), false),
        (
            "qwen2 that asks",
            TokenizerSource {
                add_bos_token: Some(true),
                ..byte_level("qwen2", &[], &[])
            },
            true,
        ),
        (
            "SentencePiece that declines",
            TokenizerSource {
                add_bos_token: Some(false),
                ..spm_of_letters()
            },
            false,
        ),
    ] {
        let tokenizer = new(source);
        assert_eq!(tokenizer.adds_bos(), adds_bos, "{name}");
    }
    let tokenizer = new(spm_of_letters());
    let bos = tokenizer.bos_id().unwrap();
    for template in [
        "{{ bos_token }}{{ messages[0].content }}",
        "{{ messages[0].content }}",
    ] {
        let template = ChatTemplate::new(Some(template)).unwrap();
        let ids = template
            .render_tokens(&tokenizer, &[user("a")], true)
            .unwrap();
        assert_eq!(ids.iter().filter(|&&id| id == bos).count(), 1);
        assert_eq!(ids[0], bos);
    }
}

#[test]
fn pitfall_05_llama3_ignores_merges_and_an_unknown_split_is_not_guessed() {
    let more = [("hello", NORMAL)];
    for (pre, expected) in [
        ("llama-bpe", vec!["hello"]),
        ("tekken", vec!["hello"]),
        ("qwen2", vec!["he", "l", "l", "o"]),
    ] {
        assert_eq!(
            words(&new(byte_level(pre, &["h e"], &more)), "hello"),
            expected,
            "{pre}"
        );
    }
    let error = Tokenizer::new(byte_level("kimi-k2", &[], &[])).unwrap_err();
    assert!(
        error.to_string().contains("`kimi-k2` is not supported"),
        "{error}"
    );
    let unnamed = new(TokenizerSource {
        pre: None,
        ..byte_level("", &[], &[])
    });
    let warning = unnamed.warnings().first().unwrap();
    assert!(warning.contains("names no pre-tokenizer"), "{warning}");
    assert!(new(byte_level("qwen2", &[], &[])).warnings().is_empty());
}

#[test]
fn pitfall_06_spm_merges_the_best_pair_first_and_falls_back_to_bytes() {
    // The best sum of scores is ab + c; the best pair is bc.
    let tokenizer = new(spm(&[
        ("▁", -20.0, NORMAL),
        ("a", -10.0, NORMAL),
        ("b", -10.0, NORMAL),
        ("c", -1.0, NORMAL),
        ("ab", -3.0, NORMAL),
        ("bc", -2.0, NORMAL),
    ]));
    assert_eq!(words(&tokenizer, "abc"), ["▁", "a", "bc"]);
    assert_eq!(words(&tokenizer, "é"), ["▁", "<0xC3>", "<0xA9>"]);
    assert_eq!(
        words(&tokenizer, "<0x0A>").len(),
        1 + "<0x0A>".len(),
        "the text of a byte token is text"
    );
    let bare = new(TokenizerSource {
        add_space_prefix: Some(false),
        ..spm_of_letters()
    });
    assert_eq!(words(&bare, "a a"), ["a", "▁a"]);
    assert_eq!(words(&new(spm_of_letters()), "a a"), ["▁a", "▁a"]);
}

#[test]
fn pitfall_07_only_control_tokens_are_special_and_text_never_yields_one() {
    let more = [("<|eot_id|>", CONTROL), ("<think>", USER_DEFINED)];
    for tokenizer in [
        new(byte_level("llama-bpe", &["< |", "| >"], &more)),
        new(spm_of_letters()),
    ] {
        let text = "<think>a<|eot_id|><think>";
        let ids = tokenizer.encode(text, AddSpecial::No);
        assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
        assert_eq!(
            spelled(&tokenizer, &ids)
                .iter()
                .filter(|token| *token == "<think>")
                .count(),
            2
        );
        assert_eq!(
            tokenizer.decode(&ids),
            text,
            "user-defined tokens are printed"
        );
        let parsed = tokenizer.encode_with_special(text);
        assert_eq!(
            tokenizer.decode(&parsed),
            "<think>a<think>",
            "control tokens are not"
        );
        let template = ChatTemplate::new(Some("{{ messages[0].content }}<|eot_id|>")).unwrap();
        let prompt = template
            .render_tokens(&tokenizer, &[user("b <|eot_id|> a")], false)
            .unwrap();
        assert_eq!(
            prompt.iter().filter(|&&id| tokenizer.is_eos(id)).count(),
            1,
            "a document cannot end the turn"
        );
    }
}

#[test]
fn pitfall_08_eos_is_a_set() {
    let more = [
        ("<|end_of_text|>", CONTROL),
        ("<|eot_id|>", CONTROL),
        ("<|eom_id|>", CONTROL),
        ("<other>", CONTROL),
    ];
    let mut source = byte_level("llama-bpe", &[], &more);
    source.eos_token_id = source
        .tokens
        .iter()
        .position(|token| token == "<|end_of_text|>")
        .map(|id| id as u32);
    let tokenizer = new(source);
    assert_eq!(
        spelled(&tokenizer, tokenizer.eos_ids()),
        ["<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"]
    );
    let tokenizer = new(spm_of_letters());
    assert_eq!(
        spelled(&tokenizer, tokenizer.eos_ids()),
        ["</s>", "<|eot_id|>"],
        "by default, and by name"
    );
}

#[test]
fn pitfall_09_streams_hold_back_halves_of_characters_and_know_whose_a_space_is() {
    let tokenizer = new(spm_of_letters());
    let ids = tokenizer.encode("é a", AddSpecial::No);
    let mut detokenizer = Detokenizer::new();
    let deltas: Vec<String> = ids
        .iter()
        .map(|&id| detokenizer.push(&tokenizer, id))
        .collect();
    assert_eq!(
        deltas,
        ["", "", "é", " a"],
        "the first space is the tokenizer's, the second is the text's"
    );
    detokenizer.push(&tokenizer, ids[1]);
    assert_eq!(
        detokenizer.finish(),
        "\u{FFFD}",
        "half a character at the end"
    );

    let word = tokenizer.encode("a", AddSpecial::No);
    let after = |prompt: &str| {
        let prompt = tokenizer.encode_with_special(prompt);
        Detokenizer::after(&tokenizer, &prompt).push(&tokenizer, word[0])
    };
    assert_eq!(
        after("a b"),
        " a",
        "after text the space belongs to the answer"
    );
    assert_eq!(after("a[INST]"), "a", "after a control token it does not");
}

#[test]
fn pitfall_10_stop_strings_span_tokens_and_characters() {
    let tokenizer = new(spm_of_letters());
    let text = "{\"a\": \"b é\"}\u{1F980}\n\nUser: more";
    let stops = ["\u{1F980}\n\nUser".to_owned(), "\"b é\"]".to_owned()];
    let mut matcher = StopMatcher::new(&stops);
    let mut detokenizer = Detokenizer::new();
    let (mut emitted, mut longest_wait, mut used) = (String::new(), 0, 0);
    for (count, id) in tokenizer
        .encode(text, AddSpecial::No)
        .into_iter()
        .enumerate()
    {
        let outcome = matcher.push(&detokenizer.push(&tokenizer, id));
        emitted.push_str(&outcome.emit);
        longest_wait = longest_wait.max(count - emitted.chars().count().min(count));
        used = count + 1;
        if outcome.stopped {
            break;
        }
    }
    assert_eq!(
        emitted, "{\"a\": \"b é\"}",
        "the stop is cut, and what only began like one is not"
    );
    assert!(
        used < tokenizer.encode(text, AddSpecial::No).len(),
        "the rest is not read"
    );
    assert!(longest_wait <= 2 * stops[0].len());
}

#[test]
fn pitfall_11_templates_find_what_they_expect_of_python() {
    let conversation = Conversation {
        tools: vec![json!({"name": "f", "x": 1e-7})],
        variables: [("enable_thinking".to_owned(), json!(false))]
            .into_iter()
            .collect(),
        ..Conversation::new(&[user("Hi there")])
    };
    for (template, expected) in [
        ("{{ tools[0] | tojson }}", r#"{"name": "f", "x": 1e-07}"#),
        (
            "{{ tools | tojson(indent=1) }}",
            "[\n {\n  \"name\": \"f\",\n  \"x\": 1e-07\n }\n]",
        ),
        (
            "{{ tools | tojson(separators=(',', ':'), sort_keys=true) }}",
            r#"[{"name":"f","x":1e-07}]"#,
        ),
        (
            "{{ 'é🦀<' | tojson(ensure_ascii=true) }}{{ 'é<' | tojson }}",
            r#""\u00e9\ud83e\udd80<""é<""#,
        ),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        (
            "{% set ns = namespace(n=1) %}{% for c in 'ab' %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "3",
        ),
        (
            "{{ messages[0].content.split(' ')[-1].removeprefix('th') }}|{{ ' x '.strip() }}|{{ 'xax'.lstrip('x') }}",
            "ere|x|ax",
        ),
        (
            "{% for k, v in tools[0].items() %}{{ k }}={{ v }};{% endfor %}",
            "name=f;x=1e-07;",
        ),
        (
            "{{ none }} {{ true }} {{ [1, 'a', none] }} {{ {'k': 1.0} }}",
            "None True [1, 'a', None] {'k': 1.0}",
        ),
        (
            "{% if documents is none %}no documents{% endif %}{{ enable_thinking }}",
            "no documentsFalse",
        ),
        ("{%- generation -%} a {%- endgeneration %}b", "ab"),
        (
            "{% for m in [1, 2, 3] %}{% if m == 2 %}{% continue %}{% endif %}{{ m }}{% endfor %}",
            "13",
        ),
        ("  {% if true %}\n x\n  {% endif %}\ny", " x\ny"),
    ] {
        assert_eq!(
            render(template, &conversation).unwrap(),
            expected,
            "{template}"
        );
    }
    let refusal = render("{{ raise_exception('no') }}", &conversation).unwrap_err();
    assert!(matches!(refusal, ChatTemplateError::Refused { message } if message == "no"));
}

#[test]
fn pitfall_11_a_system_message_is_merged_where_a_template_refuses_or_drops_it() {
    let conversation =
        Conversation::new(&[ChatMessage::new(Role::System, "Be \"brief\"."), user("Hi")]);
    for (template, expected) in [
        (
            "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}<{{ m.content }}>{% endfor %}",
            "<Be \"brief\".\n\nHi>",
        ),
        (
            "{% for m in messages %}{% if m.role == 'user' %}<{{ m.content }}>{% endif %}{% endfor %}",
            "<Be \"brief\".\n\nHi>",
        ),
        (
            "{% for m in messages %}<{{ m.content }}>{% endfor %}",
            "<Be \"brief\".><Hi>",
        ),
        (
            "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
            "\"Be \\\"brief\\\".\"\"Hi\"",
        ),
    ] {
        assert_eq!(
            render(template, &conversation).unwrap(),
            expected,
            "{template}"
        );
    }
}

#[test]
fn pitfall_11_a_final_message_can_be_continued() {
    let conversation = Conversation {
        turns: vec![
            Turn::from(user("Count.")),
            ChatMessage::new(Role::Assistant, "One, ").into(),
        ],
        end: PromptEnd::InsideLastTurn,
        ..Conversation::default()
    };
    for (template, expected) in [
        (
            "{% for m in messages %}<{{ m.content }}>{% endfor %}",
            "<Count.><One, ",
        ),
        (
            "{% for m in messages %}<{{ m.content | trim }}>{% endfor %}",
            "<Count.><One,",
        ),
    ] {
        assert_eq!(
            render(template, &conversation).unwrap(),
            expected,
            "{template}"
        );
    }
    let error = render("{{ messages[0].content }}", &conversation).unwrap_err();
    assert!(matches!(error, ChatTemplateError::NotContinued));
}

/// What a conversation holds of tools. Tool calls in what a model writes are not read (the HTTP interface refuses
/// messages of tools), so fragments of JSON and reasoning tags in answers have no test.
#[test]
fn pitfall_25_parallel_tool_calls_keep_order_ids_arguments_and_empty_content() {
    let call = |id: &str, arguments| ToolCall {
        id: Some(id.to_owned()),
        name: "find".to_owned(),
        arguments,
    };
    let result = |id: &str, content: &str| Turn::ToolResult {
        call_id: Some(id.to_owned()),
        name: None,
        content: content.to_owned(),
    };
    let conversation = Conversation {
        turns: vec![
            user("Hi").into(),
            Turn::ToolCalls {
                content: String::new(),
                calls: vec![
                    call("b", json!({"q": "x", "n": 1, "deep": {"a": [null]}})),
                    call("a", json!({})),
                    call("c", json!("{\"q\": 1}")),
                ],
            },
            result("a", ""),
            result("b", "two"),
        ],
        ..Conversation::default()
    };
    let template = "{% for m in messages %}{% if m.tool_calls %}\
        {{ 'none' if m.content is none else m.content | length }}:\
        {% for c in m.tool_calls %}{{ c.id }}={{ c.function.name }}{{ c.function.arguments | tojson }};{% endfor %}\
        {% elif m.role == 'tool' %}{{ m.tool_call_id }}<{{ m.content }}>{% endif %}{% endfor %}";
    // Content that is empty is empty, not none; arguments are what was given, an object or a string.
    assert_eq!(
        render(template, &conversation).unwrap(),
        "0:b=find{\"q\": \"x\", \"n\": 1, \"deep\": {\"a\": [null]}};a=find{};c=find\"{\\\"q\\\": 1}\";a<>b<two>"
    );
}

#[test]
fn pitfall_11_a_hostile_template_ends() {
    let conversation = Conversation::new(&[user("x")]);
    let fails = |template: &str| render(template, &conversation).unwrap_err();
    let loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert!(matches!(fails(loops), ChatTemplateError::OutOfFuel { .. }));
    let grows = "{% for a in range(9999) %}{{ 'xxxxxxxxxxxxxxxx' * 999 }}{% endfor %}";
    assert!(matches!(
        fails(grows),
        ChatTemplateError::OutputTooLarge { .. }
    ));
    let recurses = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    assert!(matches!(fails(recurses), ChatTemplateError::Render { .. }));
    let nests = "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}";
    assert_eq!(
        render(&format!("{nests}done"), &conversation).unwrap(),
        "done"
    );
    assert!(matches!(
        fails(&format!("{nests}{{{{ ns.x | tojson }}}}")),
        ChatTemplateError::Render { .. }
    ));
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let conversation = Conversation {
        tools: vec![deep],
        ..conversation
    };
    assert!(matches!(
        render("a", &conversation),
        Err(ChatTemplateError::TooDeep { .. })
    ));
}
