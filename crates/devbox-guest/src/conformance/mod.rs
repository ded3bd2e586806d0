//! What every implementation of the contract is tested against.
