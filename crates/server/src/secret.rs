use portcullis_adapters::secret::Secret;
use portcullis_adapters::system::OsEntropy;

use crate::failure::{Failure, print};

/// Prints a new secret.
pub(crate) fn generate() -> Result<(), Failure> {
    print([Secret::generate(&OsEntropy).expose()])
}
