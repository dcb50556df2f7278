//! What holds of everything that is presented as a refresh token.
#![expect(clippy::expect_used, reason = "it is about the input, not about what it is made with")]

use std::sync::LazyLock;

use super::*;

/// What opens is, byte for byte, what was sealed; and no text shows a token.
///
/// The input is a text, and then a session, a generation, a place in their genuine token, a length, and what is put there
/// instead.
///
/// # Panics
/// Where it does not hold.
pub fn holds(input: &[u8]) {
    if let Ok(text) = str::from_utf8(input) {
        check(text);
    }
    let Some((chosen, replacement)) = input.split_first_chunk::<22>() else { return };
    let ([session @ .., _, _, _, _, _, _], [.., a, b, c, d, start, length]) = (chosen, chosen);
    let claims = RefreshClaims {
        session: SessionId::from_uuid(Uuid::from_bytes(*session)),
        generation: Generation::new(u32::from_be_bytes([*a, *b, *c, *d])),
    };
    let genuine = CODEC.issue(claims);
    assert_eq!(genuine.expose().len(), TOKEN_CHARS);
    assert_eq!(CODEC.verify(&genuine), Ok(claims));
    assert_eq!(format!("{genuine:?}"), "RefreshToken(..)");

    let start = usize::from(*start) % (TOKEN_CHARS + 1);
    let end = (start + usize::from(*length)).min(TOKEN_CHARS);
    let changed = [&genuine.expose().as_bytes()[..start], replacement, &genuine.expose().as_bytes()[end..]];
    if let Ok(changed) = String::from_utf8(changed.concat()) {
        check(&changed);
    }
}

fn check(text: &str) {
    if let Ok(claims) = CODEC.verify(&RefreshToken::new(text.to_owned())) {
        assert_eq!(CODEC.issue(claims).expose(), text);
    }
}

static CODEC: LazyLock<MacRefreshTokenCodec> = LazyLock::new(|| {
    let secret = Secret::parse_for_development("the secret that nobody else has").expect("it is one");
    MacRefreshTokenCodec::new(&Secrets::new(secret, []))
});

#[cfg(test)]
mod tests {
    use portcullis_testkit::replay;

    #[test]
    fn it_holds_near_the_seeds() {
        replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/refresh_token"), 20_000, super::holds);
    }
}
