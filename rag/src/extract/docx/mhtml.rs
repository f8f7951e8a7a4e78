//! MHTML, in which Word and report generators embed a web page with its pictures: the page alone is taken out.

use encoding_rs::Encoding;

use crate::extract::find;

/// Headers of a message or of one of its parts, and what follows them.
struct Part<'a> {
    headers: String,
    body: &'a [u8],
}

/// The first HTML page of an MHTML file; `None` if there is none. As UTF-8 with a byte order mark where the message names an
/// encoding, else as it stands: then the page itself says which.
pub(super) fn page(file: &[u8]) -> Option<Vec<u8>> {
    let message = split_head(file);
    let Some(boundary) = parameter(&message.header("content-type")?, "boundary") else {
        return message.page();
    };
    let boundary = format!("--{boundary}");
    parts(message.body, boundary.as_bytes())
        .into_iter()
        .find_map(|part| split_head(part).page())
}

fn split_head(bytes: &[u8]) -> Part<'_> {
    let (end, gap) = [&b"\r\n\r\n"[..], b"\n\n"]
        .iter()
        .filter_map(|gap| Some((find(bytes, gap)?, gap.len())))
        .min()
        .unwrap_or((bytes.len(), 0));
    // A header goes on in lines that begin with a blank.
    let headers = String::from_utf8_lossy(&bytes[..end])
        .replace("\r\n", "\n")
        .replace("\n ", " ")
        .replace("\n\t", " ");
    Part {
        headers,
        body: &bytes[end + gap..],
    }
}

/// What lies between lines that begin with the boundary.
fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(boundary) {
            parts.extend(start.map(|start| &body[start..at]));
            start = Some(at + line.len());
        }
        at += line.len();
    }
    parts.extend(start.map(|start| &body[start..]));
    parts
}

impl Part<'_> {
    fn header(&self, name: &str) -> Option<String> {
        self.headers.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }

    fn page(&self) -> Option<Vec<u8>> {
        let kind = self.header("content-type")?;
        if !kind.to_ascii_lowercase().starts_with("text/html") {
            return None;
        }
        let transfer = self.header("content-transfer-encoding").unwrap_or_default();
        let bytes = match transfer.to_ascii_lowercase().as_str() {
            "quoted-printable" => quoted_printable(self.body),
            "base64" => base64(self.body),
            _ => self.body.to_vec(),
        };
        // Without a word of the part about its encoding, what the page says holds.
        let Some(encoding) =
            parameter(&kind, "charset").and_then(|label| Encoding::for_label(label.as_bytes()))
        else {
            return Some(bytes);
        };
        let (text, ..) = encoding.decode(&bytes);
        // The mark outweighs what the page says about its encoding, which was that of the bytes before.
        Some(format!("\u{feff}{text}").into_bytes())
    }
}

/// `name="value"` among the parameters of a header.
fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let hexadecimal = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while let Some(&byte) = body.get(at) {
        let rest = &body[at + 1..];
        if byte != b'=' {
            out.push(byte);
            at += 1;
        } else if rest.starts_with(b"\r\n") {
            at += 3;
        } else if rest.starts_with(b"\n") {
            at += 2;
        } else if let (Some(high), Some(low)) =
            (hexadecimal(rest.first()), hexadecimal(rest.get(1)))
        {
            out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    out
}

fn base64(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    let (mut bits, mut num_bits) = (0u32, 0u32);
    for &byte in body {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        num_bits += 6;
        if num_bits >= 8 {
            num_bits -= 8;
            out.push((bits >> num_bits) as u8);
            bits &= (1 << num_bits) - 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_taken_out_and_decoded() {
        let related = "MIME-Version: 1.0\r\nContent-Type: multipart/related;\r\n boundary=\"x\"\r\n\r\nnoise\r\n--x\r\n\
            Content-Type: image/png\r\n\r\n<p>no</p>\r\n--x\r\nContent-Type: text/html; charset=iso-8859-1\r\n\
            Content-Transfer-Encoding: Quoted-Printable\r\n\r\n<p>Gr=FC=\r\n=DFe</p>\r\n--x--\r\n";
        let single = "Content-Type: text/html\nContent-Transfer-Encoding: base64\n\nPHA+R3LDvMOfZTwv\ncD4=\n";
        for file in [related, single] {
            let page = String::from_utf8(page(file.as_bytes()).unwrap()).unwrap();
            assert_eq!(page.trim().trim_start_matches('\u{feff}'), "<p>Grüße</p>");
        }
        let silent = b"Content-Type: text/html\n\n<meta charset=windows-1252><p>Gr\xfc\xdfe</p>";
        assert!(page(silent).unwrap().ends_with(b"<p>Gr\xfc\xdfe</p>"));
        assert_eq!(page(b"Content-Type: text/plain\n\nx"), None);
        assert_eq!(page(b""), None);
    }
}
