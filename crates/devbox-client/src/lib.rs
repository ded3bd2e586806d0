//! The Rust client: boxes, and everything in them.
//!
//! A [`Client`] speaks to one server with one key. [`Client::sandbox`] gives a [`Sandbox`]: one box, with paths
//! resolved against its working directory. Below that, [`Client::guest`] is the plain `Guest` contract over HTTP.
//!
//! ```no_run
//! # async fn example() -> Result<(), devbox_client::ClientError> {
//! use devbox_client::{Client, ClientConfig, Command, CreateRequest};
//!
//! let client = Client::connect(ClientConfig::from_env()?)?;
//! let sandbox = client.create_sandbox(&CreateRequest::default()).await?;
//! sandbox.write("main.py", "print('hello')").await?;
//! let output = sandbox.run(Command::new(["python3", "main.py"])).await?;
//! assert_eq!(&output.stdout[..], b"hello\n");
//! sandbox.destroy().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`config`] | where the server is and how to speak to it |
//! | [`endpoint`] | the server's address, parsed |
//! | [`error`] | why a call failed |
//! | [`retry`] | when a call is sent again |
//! | [`transport`] | TCP and TLS byte streams |
//! | [`client`] | boxes, keys, templates |
//! | [`large`] | large files, in pieces |
//! | [`sandbox`] | one box: files and processes |

pub mod client;
pub mod config;
pub mod endpoint;
pub mod error;
pub mod large;
pub mod retry;
pub mod sandbox;
pub mod transport;

mod call;

pub use client::{Client, ListQuery};
pub use config::ClientConfig;
pub use error::ClientError;
pub use large::{LargeOptions, OnProgress, TransferProgress};
pub use retry::RetryPolicy;
pub use sandbox::{Command, Output, Sandbox};

pub use devbox_types::devbox::{CreateRequest, Devbox, DevboxPage, Resources};
