//! Splits Rust source into words, paths and signs: what an import or a name is made of. Comments and strings are left out.

/// A piece of a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    Word(String),
    /// `::`
    Path,
    Sign(char),
}

/// The pieces of a program, in order.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or(' ');
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => i += chars[i..].iter().take_while(|c| **c != '\n').count(),
            ('/', '*') => i = (i..chars.len()).find(|i| at(*i) == '*' && at(i + 1) == '/').map_or(chars.len(), |end| end + 2),
            ('r', '"' | '#') if chars[i + 1..].iter().find(|c| **c != '#') == Some(&'"') => {
                let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
                let end = |i: &usize| at(*i) == '"' && (1..=hashes).all(|n| at(i + n) == '#');
                i = (i + hashes + 2..chars.len()).find(end).map_or(chars.len(), |end| end + hashes + 1);
            }
            ('"', _) => {
                let start = i + 1;
                i = start;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                // `#[serde(with = "crate::duration")]` is an import, too.
                let string: String = chars[start..i.min(chars.len())].iter().collect();
                if string.starts_with("crate::") {
                    tokens.extend(self::tokens(&string));
                }
                i += 1;
            }
            ('\'', '\\') => i = (i + 3..chars.len()).find(|i| at(*i) == '\'').map_or(chars.len(), |end| end + 1),
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (':', ':') => {
                tokens.push(Token::Path);
                i += 2;
            }
            (c, _) if c.is_alphanumeric() || c == '_' => {
                let word: String = chars[i..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                i += word.chars().count();
                tokens.push(Token::Word(word));
            }
            (c, _) => {
                if !c.is_whitespace() {
                    tokens.push(Token::Sign(c));
                }
                i += 1;
            }
        }
    }
    tokens
}
