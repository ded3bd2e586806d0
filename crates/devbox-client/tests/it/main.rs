//! The client against servers that say exactly what a test wants them to say.

mod download;
mod repeat;
mod script;
mod tls;
