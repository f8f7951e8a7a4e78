//! Colours as style sheets and attributes write them.

/// Red, green, blue.
pub(super) type Rgb = [u8; 3];

/// The colours that have names in CSS, in hexadecimal digits.
const NAMES: &str = include_str!("colors.tsv");
pub(super) const BLACK: Rgb = [0, 0, 0];
pub(super) const WHITE: Rgb = [255, 255, 255];

/// A colour that a declaration states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Paint {
    Color {
        rgb: Rgb,
        /// 0 to 1.
        opacity: f32,
    },
    /// As what is around.
    Inherited,
    Unknown,
}

impl Paint {
    pub(super) const CLEAR: Self = Self::Color {
        rgb: BLACK,
        opacity: 0.0,
    };

    pub(super) const fn solid(rgb: Rgb) -> Self {
        Self::Color { rgb, opacity: 1.0 }
    }

    /// A colour as CSS writes it, in lower case.
    pub(super) fn of_css(value: &str) -> Self {
        match value {
            "transparent" => return Self::CLEAR,
            "inherit" | "unset" | "revert" | "revert-layer" | "currentcolor" => {
                return Self::Inherited;
            }
            _ => {}
        }
        value
            .strip_prefix('#')
            .and_then(hexadecimal)
            .or_else(|| named(value))
            .or_else(|| function(value))
            .unwrap_or(Self::Unknown)
    }

    /// The colour and the picture of the shorthand `background`.
    pub(super) fn of_background(value: &str) -> (Self, Self) {
        if value == "none" {
            return (Self::CLEAR, Self::CLEAR);
        }
        if let Self::Color { rgb, opacity } = Self::of_css(value) {
            return (Self::Color { rgb, opacity }, Self::CLEAR);
        }
        // Behind a position or a picture the colour is one word of several.
        let words = value.split_whitespace().map(Self::of_css);
        let is_drawn = value.contains('(') || value.contains("inherit");
        match words
            .into_iter()
            .find(|paint| matches!(paint, Self::Color { .. }))
        {
            Some(color) if !is_drawn => (color, Self::CLEAR),
            _ => (Self::Unknown, Self::Unknown),
        }
    }

    /// A colour as the attributes of old pages write it.
    pub(super) fn of_attribute(value: &str) -> Self {
        let value = value.trim().to_ascii_lowercase();
        match (Self::of_css(&value), value.len()) {
            (Self::Unknown, 6) => hexadecimal(&value).unwrap_or(Self::Unknown),
            (paint, _) => paint,
        }
    }

    /// What is seen of the colour in front of another one.
    pub(super) fn over(self, behind: Option<Rgb>) -> Option<Rgb> {
        match self {
            Self::Color { rgb, opacity } if opacity >= 1.0 => Some(rgb),
            Self::Color { rgb, opacity } => behind.map(|behind| {
                let mut mixed = rgb;
                for (front, back) in mixed.iter_mut().zip(behind) {
                    *front = byte(f32::from(*front) * opacity + f32::from(back) * (1.0 - opacity));
                }
                mixed
            }),
            Self::Inherited | Self::Unknown => None,
        }
    }
}

/// The nearest of the 256 steps of a channel.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn byte(channel: f32) -> u8 {
    channel.round().clamp(0.0, 255.0) as u8
}

/// Three, four, six or eight hexadecimal digits.
fn hexadecimal(digits: &str) -> Option<Paint> {
    let digits: Vec<u8> = digits
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    let channels: Vec<u8> = match digits.len() {
        3 | 4 => digits.iter().map(|digit| digit * 17).collect(),
        6 | 8 => digits
            .chunks(2)
            .map(|pair| pair[0] * 16 + pair[1])
            .collect(),
        _ => return None,
    };
    let rgb = [channels[0], channels[1], channels[2]];
    let opacity = channels
        .get(3)
        .map_or(1.0, |&alpha| f32::from(alpha) / 255.0);
    Some(Paint::Color { rgb, opacity })
}

fn named(name: &str) -> Option<Paint> {
    let mut names = NAMES.lines().filter_map(|line| line.split_once('\t'));
    names
        .find(|(known, _)| *known == name)
        .and_then(|(_, digits)| hexadecimal(digits))
}

/// `rgb(255, 0, 0)`, `rgb(100% 0% 0% / 50%)`, `hsla(0, 100%, 50%, 0.5)`.
fn function(value: &str) -> Option<Paint> {
    let (name, rest) = value.split_once('(')?;
    let arguments = rest.strip_suffix(')')?;
    let arguments: Vec<&str> = arguments
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | '/'))
        .filter(|argument| !argument.is_empty())
        .collect();
    // A share of `whole`, if it is one.
    let number = |argument: &str, whole: f32| match argument.strip_suffix('%') {
        Some(percent) => percent
            .parse::<f32>()
            .ok()
            .map(|percent| percent / 100.0 * whole),
        None => argument.trim_end_matches("deg").parse::<f32>().ok(),
    };
    let (three, opacity) = match arguments[..] {
        [a, b, c] => ([a, b, c], 1.0),
        [a, b, c, opacity] => ([a, b, c], number(opacity, 1.0)?),
        _ => return None,
    };
    let rgb = match name.trim() {
        "rgb" | "rgba" => {
            let [red, green, blue] = three.map(|part| number(part, 255.0));
            [byte(red?), byte(green?), byte(blue?)]
        }
        "hsl" | "hsla" => {
            let [hue, saturation, lightness] = three.map(|part| number(part, 1.0));
            of_hue(hue?, saturation?, lightness?)
        }
        _ => return None,
    };
    Some(Paint::Color {
        rgb,
        opacity: opacity.clamp(0.0, 1.0),
    })
}

/// CSS Color 4 §7.1.
fn of_hue(hue: f32, saturation: f32, lightness: f32) -> Rgb {
    let reach = saturation * lightness.min(1.0 - lightness);
    [0.0, 8.0, 4.0].map(|offset| {
        let step = (offset + hue / 30.0).rem_euclid(12.0);
        byte(255.0 * (lightness - reach * (step - 3.0).min(9.0 - step).clamp(-1.0, 1.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_as_css_writes_them() {
        let cases = [
            ("#fff", Paint::solid(WHITE)),
            (
                "#0f08",
                Paint::Color {
                    rgb: [0, 255, 0],
                    opacity: 136.0 / 255.0,
                },
            ),
            ("#123456", Paint::solid([0x12, 0x34, 0x56])),
            ("whitesmoke", Paint::solid([245, 245, 245])),
            ("rgb(254, 0, 10)", Paint::solid([254, 0, 10])),
            (
                "rgb(100% 0% 0% / 50%)",
                Paint::Color {
                    rgb: [255, 0, 0],
                    opacity: 0.5,
                },
            ),
            ("hsl(120deg 100% 25%)", Paint::solid([0, 128, 0])),
            ("hsla(0, 0%, 100%, 1)", Paint::solid(WHITE)),
            ("var(--ink)", Paint::Unknown),
            ("#12", Paint::Unknown),
            ("inherit", Paint::Inherited),
        ];
        for (value, want) in cases {
            assert_eq!(Paint::of_css(value), want, "{value}");
        }
        let clear = Paint::CLEAR;
        let cases = [
            ("none", (clear, clear)),
            ("#000", (Paint::solid(BLACK), clear)),
            ("no-repeat scroll 0 0 white", (Paint::solid(WHITE), clear)),
            ("rgba(0,0,0,0)", (clear, clear)),
            ("#fff url(a.png)", (Paint::Unknown, Paint::Unknown)),
            (
                "linear-gradient(red, blue)",
                (Paint::Unknown, Paint::Unknown),
            ),
        ];
        for (value, want) in cases {
            assert_eq!(Paint::of_background(value), want, "{value}");
        }
    }
}
