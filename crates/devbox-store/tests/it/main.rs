//! The store over real files.

mod audit;
mod boxes;
mod first_key;
mod keys;
