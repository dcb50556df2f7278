//! The texts of tokens, as codecs make them and clients present them.

use std::fmt;

use zeroize::Zeroizing;

macro_rules! secret_token {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Takes a token that a codec made or a client presented.
            pub fn new(token: String) -> Self {
                Self(Zeroizing::new(token))
            }

            /// The token's text.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        /// Takes the token from an owner that wipes it, without a copy.
        impl From<Zeroizing<String>> for $name {
            fn from(token: Zeroizing<String>) -> Self {
                Self(token)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

secret_token! {
    /// An access token as clients carry it. It cannot be printed or compared, and is wiped on drop.
    AccessToken;
    /// A refresh token as clients keep it. It cannot be printed or compared, and is wiped on drop.
    RefreshToken;
}

#[cfg(test)]
mod tests {
    use zeroize::ZeroizeOnDrop;

    use super::*;

    // ASVS 11.7.2
    #[test]
    fn tokens_are_wiped_on_drop() {
        fn is_wiped(_: &impl ZeroizeOnDrop) {}
        let AccessToken(text) = AccessToken::new("a.b.c".to_owned());
        is_wiped(&text);
        let RefreshToken(text) = RefreshToken::new("pcr_".to_owned());
        is_wiped(&text);
    }
}
