//! Operators of a content stream with their places in it, for what the text reader does not tell: in which order
//! things are painted. Strings and arrays are passed over.

/// Operands that are kept of an operator; none that matters here has more.
const MAX_NUMBERS: usize = 6;

/// One operator and its operands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'a> {
    pub(super) name: &'a [u8],
    /// Offset of its first operand, and of the byte after the operator.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Its operands and its name, as they stand in the stream.
    bytes: &'a [u8],
    numbers: [f32; MAX_NUMBERS],
    num_numbers: usize,
    /// The last operand that is a name, without the slash.
    last_name: Option<&'a [u8]>,
}

impl<'a> Operation<'a> {
    /// The numbers if there are `N` of them at least; the last ones.
    pub(super) fn numbers<const N: usize>(&self) -> Option<[f32; N]> {
        let kept = self.num_numbers.min(MAX_NUMBERS);
        self.numbers[..kept].last_chunk::<N>().copied()
    }

    pub(super) fn num_numbers(&self) -> usize {
        self.num_numbers
    }

    /// The string under `key` in a dictionary among the operands.
    pub(super) fn string_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut operands = Operations::new(self.bytes);
        while let Some(byte) = operands.peek() {
            match byte {
                b'(' => operands.skip_string(),
                b'/' => {
                    operands.at += 1;
                    if operands.word() == key {
                        operands.skip_blanks();
                        return operands.string();
                    }
                }
                _ => operands.at += 1,
            }
        }
        None
    }

    pub(super) fn last_name(&self) -> Option<String> {
        let name = self.last_name?;
        let mut out = Vec::with_capacity(name.len());
        let mut at = 0;
        while at < name.len() {
            let code = (name[at] == b'#')
                .then(|| std::str::from_utf8(name.get(at + 1..at + 3)?).ok())
                .flatten()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            out.push(code.unwrap_or(name[at]));
            at += if code.is_some() { 3 } else { 1 };
        }
        Some(String::from_utf8_lossy(&out).into_owned())
    }
}

/// Walks over the operators of `data`. Malformed parts are passed over.
pub(super) struct Operations<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Operations<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'%' {
                while self
                    .peek()
                    .is_some_and(|byte| byte != b'\n' && byte != b'\r')
                {
                    self.at += 1;
                }
            } else if is_blank(byte) {
                self.at += 1;
            } else {
                break;
            }
        }
    }

    /// Passes over a string in parentheses.
    fn skip_string(&mut self) {
        let mut depth = 0usize;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'(' => depth += 1,
                b')' if depth <= 1 => return,
                b')' => depth -= 1,
                _ => {}
            }
        }
    }

    /// The bytes of the string that begins here.
    fn string(&mut self) -> Option<Vec<u8>> {
        let from = self.at + 1;
        match self.peek()? {
            b'(' => {
                self.skip_string();
                Some(unescaped(self.data.get(from..self.at - 1)?))
            }
            b'<' => {
                let digits: Vec<u8> = self.data[from..]
                    .iter()
                    .take_while(|&&byte| byte != b'>')
                    .filter_map(|&byte| char::from(byte).to_digit(16))
                    .map(|digit| digit as u8)
                    .collect();
                let byte = |pair: &[u8]| pair[0] * 16 + pair.get(1).copied().unwrap_or(0);
                Some(digits.chunks(2).map(byte).collect())
            }
            _ => None,
        }
    }

    /// Passes over an array, a dictionary or a hexadecimal string.
    fn skip_nested(&mut self) {
        let mut depth = 0usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'(' => {
                    self.skip_string();
                    continue;
                }
                b'[' | b'<' => depth += 1,
                b']' | b'>' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    fn word(&mut self) -> &'a [u8] {
        let from = self.at;
        while self
            .peek()
            .is_some_and(|byte| !is_blank(byte) && !is_delimiter(byte))
        {
            self.at += 1;
        }
        &self.data[from..self.at]
    }

    /// Passes over the dictionary and the bytes of an inline image, up to the end of "EI".
    fn skip_inline_image(&mut self) {
        let rest = &self.data[self.at..];
        let Some(data) = rest
            .windows(3)
            .position(|w| w[0] == b'I' && w[1] == b'D' && is_blank(w[2]))
        else {
            self.at = self.data.len();
            return;
        };
        let ends = |w: &[u8]| is_blank(w[0]) && w[1] == b'E' && w[2] == b'I' && is_blank(w[3]);
        let end = rest[data + 2..].windows(4).position(ends);
        self.at += end.map_or(rest.len(), |end| data + 2 + end + 3);
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Operation<'a>> {
        self.skip_blanks();
        let mut operation = Operation {
            name: b"",
            start: self.at,
            end: self.at,
            bytes: &[],
            numbers: [0.0; MAX_NUMBERS],
            num_numbers: 0,
            last_name: None,
        };
        loop {
            self.skip_blanks();
            match self.peek()? {
                b'(' => self.skip_string(),
                b'[' | b'<' => self.skip_nested(),
                b'/' => {
                    self.at += 1;
                    operation.last_name = Some(self.word());
                }
                b'+' | b'-' | b'.' | b'0'..=b'9' => {
                    let word = self.word();
                    let number = std::str::from_utf8(word)
                        .ok()
                        .and_then(|word| word.parse().ok());
                    if operation.num_numbers >= MAX_NUMBERS {
                        operation.numbers.rotate_left(1);
                    }
                    operation.numbers[operation.num_numbers.min(MAX_NUMBERS - 1)] =
                        number.unwrap_or(0.0);
                    operation.num_numbers += 1;
                }
                byte if is_delimiter(byte) => self.at += 1,
                _ => {
                    operation.name = self.word();
                    if operation.name == b"BI" {
                        self.skip_inline_image();
                    }
                    if !matches!(operation.name, b"true" | b"false" | b"null") {
                        operation.end = self.at;
                        operation.bytes = &self.data[operation.start..operation.end];
                        return Some(operation);
                    }
                }
            }
        }
    }
}

/// What a string in parentheses stands for.
fn unescaped(string: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(string.len());
    let mut rest = string;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let digits = rest
            .iter()
            .take(3)
            .take_while(|byte| (b'0'..=b'7').contains(*byte));
        let num_digits = digits.clone().count();
        if num_digits > 0 {
            let code = digits.fold(0u16, |code, digit| code * 8 + u16::from(digit - b'0'));
            out.push(code as u8);
            rest = &rest[num_digits..];
        } else if let [byte, after @ ..] = rest {
            rest = after;
            match byte {
                b'n' => out.push(b'\n'),
                b'r' => out.push(b'\r'),
                b't' => out.push(b'\t'),
                b'b' => out.push(8),
                b'f' => out.push(12),
                // The line goes on.
                b'\r' => rest = rest.strip_prefix(b"\n").unwrap_or(rest),
                b'\n' => {}
                byte => out.push(*byte),
            }
        }
    }
    out
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0c | 0)
}

fn is_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_found_between_strings_arrays_and_images() {
        let data = b"q 1 0 0 -1 .5 -2. cm % (note\nBT /F#31 9 Tf [(a\\)]) -2 <3e>] TJ (x(y)z) ' ET\nBI /W 2 ID \x00 q EIx\n EI Q /P <</M [1 2] /N (>>)>> BDC ) EMC";
        let names: Vec<&[u8]> = Operations::new(data)
            .map(|operation| operation.name)
            .collect();
        let want: [&[u8]; 11] = [
            b"q", b"cm", b"BT", b"Tf", b"TJ", b"'", b"ET", b"BI", b"Q", b"BDC", b"EMC",
        ];
        assert_eq!(names, want);
        let operations: Vec<Operation> = Operations::new(data).collect();
        assert_eq!(
            operations[1].numbers(),
            Some([1.0, 0.0, 0.0, -1.0, 0.5, -2.0])
        );
        assert_eq!(operations[3].last_name().as_deref(), Some("F1"));
        assert_eq!(&data[operations[5].start..operations[5].end], b"(x(y)z) '");
        assert_eq!(Operations::new(b"1 2 (unended").count(), 0);
    }

    #[test]
    fn strings_in_dictionaries_are_read() {
        let text = |data: &[u8]| {
            let operation = Operations::new(data).next().unwrap();
            operation.string_of(b"ActualText")
        };
        assert_eq!(
            text(b"/Span<</Lang(/ActualText) /ActualText(a\\(\\055\\)\\n(b))>>BDC").as_deref(),
            Some(&b"a(-)\n(b)"[..])
        );
        assert_eq!(
            text(b"/Span <</ActualText <FEFF 002D>>> BDC").as_deref(),
            Some(&[0xfe, 0xff, 0, 0x2d][..])
        );
        assert_eq!(text(b"/Span /ActualText BDC"), None);
    }
}
