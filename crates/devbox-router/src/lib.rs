//! The one HTTP router over the Guest contract
