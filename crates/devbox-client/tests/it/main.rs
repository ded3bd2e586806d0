//! The client against servers that say exactly what a test wants them to say.

mod repeat;
mod script;
mod tls;
