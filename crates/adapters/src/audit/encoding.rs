/// Bytes to hash or to sign: fields, each behind its tag and its length, after a label that says what they are. One
/// that is absent is left out, so no two values have the same bytes.
pub(super) struct Encoding(Vec<u8>);

impl Encoding {
    pub(super) fn new(label: &[u8]) -> Self {
        Self(label.to_vec())
    }

    /// Adds bytes of a length that the label says.
    pub(super) fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds a field: its tag in one byte, its length in eight, and its bytes.
    pub(super) fn field(mut self, tag: u8, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0.push(tag);
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds a field where it is there.
    pub(super) fn optional(self, tag: u8, bytes: Option<impl AsRef<[u8]>>) -> Self {
        match bytes {
            Some(bytes) => self.field(tag, bytes),
            None => self,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
