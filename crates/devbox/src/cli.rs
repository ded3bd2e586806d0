//! The command line: what can be typed, and the help for it.

mod archive;
mod metadata;
pub(crate) mod parse;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use devbox_types::ActingUser;

use crate::reference::Location;

pub(crate) use archive::{PackArgs, UnpackArgs};
pub(crate) use metadata::{MetaArgs, TruncateArgs};

/// Isolated Linux boxes: put files in, run programs, take results out.
///
/// Start a server with `devbox serve`, then give the other commands its key:
///
///   export DEVBOX_API_KEY=$(cat DATA_DIR/first.key)
///   box=$(devbox create --language python)
///   echo 'print(6 * 7)' | devbox put $box:main.py
///   devbox exec $box -- python3 main.py
///   devbox rm $box
///
/// Settings come from flags, then environment variables, then devbox.toml, then defaults.
#[derive(Debug, Parser)]
#[command(
    name = "devbox",
    version,
    verbatim_doc_comment,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct CliArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(ServeArgs),
    Create(CreateArgs),
    Ls(LsArgs),
    Inspect(InspectArgs),
    Start(StartArgs),
    Stop(StopArgs),
    Rm(RmArgs),
    Exec(ExecArgs),
    Cp(CpArgs),
    Cat(CatArgs),
    Put(PutArgs),
    Truncate(TruncateArgs),
    Meta(MetaArgs),
    Pack(PackArgs),
    Unpack(UnpackArgs),
    Templates(TemplatesArgs),
    Key(KeyArgs),
    Version(VersionArgs),
    /// Print the description of the HTTP API, as OpenAPI 3.1
    #[command(hide = true)]
    Openapi,
}

/// How the server is reached; every command but `serve` and `version` takes these.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Address of the server [env: DEVBOX_URL] [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// File that holds the API key [env: DEVBOX_API_KEY (the key itself), DEVBOX_API_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,

    /// PEM file of certificates to trust instead of the system's [env: DEVBOX_CA_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Configuration file [env: DEVBOX_CONFIG] [default: ./devbox.toml, then ~/.config/devbox/devbox.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Run the server, and the boxes on this machine
///
/// Starts as root, because making namespaces, mounts and control groups takes root; all of that is left to one small
/// process, and the server itself becomes an ordinary user before it listens. At its first start it makes an API key,
/// prints it once and leaves it in first.key in the data directory, readable by root and the server alone.
///
/// An address that other machines can reach needs --tls-cert and --tls-key, or --allow-plaintext. SIGTERM and SIGINT let
/// running calls end, then stop the boxes; their files stay.
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:\n  \
    sudo devbox serve\n  \
    sudo devbox serve --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem\n  \
    sudo devbox serve --data-dir /srv/devbox --pool btrfs")]
pub(crate) struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one [env: DEVBOX_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,

    /// Directory for boxes, keys and the audit [env: DEVBOX_DATA_DIR] [default: /var/lib/devbox]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Certificate chain, PEM [env: DEVBOX_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM [env: DEVBOX_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Serve without TLS on an address that other machines can reach [env: DEVBOX_ALLOW_PLAINTEXT]
    #[arg(long)]
    pub(crate) allow_plaintext: bool,

    /// Storage of the boxes: auto, btrfs or plain [env: DEVBOX_POOL] [default: auto]
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,

    /// Most bytes of one file or batch, such as 512MiB [env: DEVBOX_MAX_TRANSFER] [default: 64GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    pub(crate) max_transfer: Option<u64>,

    /// Requests a second that one key may send [env: DEVBOX_REQUESTS_PER_KEY] [default: no limit]
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_key: Option<NonZeroU64>,

    /// Bytes a second that one key may move each way, such as 50MiB [env: DEVBOX_BYTES_PER_KEY] [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse::some_size)]
    pub(crate) bytes_per_key: Option<NonZeroU64>,

    /// User that the server becomes, by name or number [env: DEVBOX_USER] [default: devbox, or else 65520]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Configuration file [env: DEVBOX_CONFIG] [default: ./devbox.toml, then ~/.config/devbox/devbox.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Make a box and print its id
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    devbox create\n  \
    devbox create --name try-1 --language python --memory 2GiB --cpu 1.5\n  \
    devbox create --runtime python:3.11 --env DEBUG=1 --label team=red --json")]
pub(crate) struct CreateArgs {
    /// Name, unique in the project: a-z, 0-9 and -, beginning with a letter
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Language whose runtime must be there, such as python
    #[arg(long)]
    pub(crate) language: Option<String>,

    /// Image reference, such as python:3.11; the box says what it got
    #[arg(long, value_name = "IMAGE")]
    pub(crate) runtime: Option<String>,

    /// Template, as `devbox templates` lists them
    #[arg(long)]
    pub(crate) template: Option<String>,

    /// Environment variable of every program in the box; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    pub(crate) env: Vec<(String, String)>,

    /// Label; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    pub(crate) label: Vec<(String, String)>,

    /// Processors, such as 2 or 0.5
    #[arg(long, value_name = "COUNT", value_parser = parse::processors)]
    pub(crate) cpu: Option<u32>,

    /// Memory, such as 512MiB or 2GiB
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    pub(crate) memory: Option<u64>,

    /// Processes and threads
    #[arg(long, value_name = "COUNT")]
    pub(crate) pids: Option<u32>,

    /// Print the whole box as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// List boxes, oldest first
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only boxes that have this label; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    pub(crate) label: Vec<(String, String)>,

    /// Print ids only
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,

    /// Print an array of boxes as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Show all that is known of a box
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Id or name of the box
    #[arg(value_name = "BOX")]
    pub(crate) reference: String,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Start boxes that are stopped or have failed
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Ids or names of the boxes
    #[arg(value_name = "BOX", required = true)]
    pub(crate) references: Vec<String>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// End every program of boxes; files are kept
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Ids or names of the boxes
    #[arg(value_name = "BOX", required = true)]
    pub(crate) references: Vec<String>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Delete boxes and all they hold, running or not
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    devbox rm try-1\n  \
    devbox rm --force $(devbox ls --quiet --label team=red)")]
pub(crate) struct RmArgs {
    /// Ids or names of the boxes
    #[arg(value_name = "BOX", required_unless_present = "force")]
    pub(crate) references: Vec<String>,

    /// Do not complain about boxes that are not there, or about none at all
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Run a program in a box
///
/// Its output comes as it is written and its exit code becomes that of this command, 128 + N if signal N killed it. No
/// shell is involved unless it is named. Input is passed on unless it is a terminal. Ctrl-C interrupts the program, a
/// second one kills it with all it started; so does the end of this command.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    devbox exec try-1 -- python3 main.py\n  \
    devbox exec try-1 -- sh -c 'ls *.py | wc -l'\n  \
    devbox exec -u root -w /etc try-1 -- ls -l shadow\n  \
    tar c src | devbox exec try-1 -- tar x")]
pub(crate) struct ExecArgs {
    /// Id or name of the box
    #[arg(value_name = "BOX")]
    pub(crate) reference: String,

    /// Program and arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) argv: Vec<String>,

    /// User in the box, by name or number [default: the box's own]
    #[arg(short, long, value_parser = parse::user)]
    pub(crate) user: Option<ActingUser>,

    /// Working directory [default: the box's own, usually /workspace]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<std::ffi::OsString>,

    /// Environment variable; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    pub(crate) env: Vec<(String, String)>,

    /// Kill it after this time, such as 30s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) timeout: Option<Duration>,

    /// Pass input on even from a terminal
    #[arg(short, long, conflicts_with = "no_stdin")]
    pub(crate) interactive: bool,

    /// Pass no input on
    #[arg(short, long)]
    pub(crate) no_stdin: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Copy files and directories into a box or out of it
///
/// One side is BOX:PATH, the other a path here; write ./a:b for a local name with a colon. Directories are copied with
/// all they hold: modes, times and symbolic links are kept, owners are not. If DST is a directory the copies go into it
/// under their own names; a source that ends in /. stands for what is in it.
///
/// Each file is replaced in one step or not at all. Up to 10,000 small files go into a box in one request, which takes
/// full effect or none. What comes out of a box is written below DST and nowhere else, whatever the box says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    devbox cp data.csv model.py try-1:\n  \
    devbox cp src/. try-1:/workspace/src\n  \
    devbox cp try-1:/workspace/out results")]
pub(crate) struct CpArgs {
    /// What to copy
    #[arg(value_name = "SRC", required = true, num_args = 1..)]
    pub(crate) sources: Vec<Location>,

    /// Where to
    #[arg(value_name = "DST")]
    pub(crate) destination: Location,

    /// User in the box, by name or number [default: the box's own]
    #[arg(short, long, value_parser = parse::user)]
    pub(crate) user: Option<ActingUser>,

    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Transfer files from this size on in pieces, so that the same command, given again, goes on where it was cut off
    #[arg(long, value_name = "SIZE", value_parser = parse::size, default_value = "100M")]
    pub(crate) large: u64,

    /// Size of a piece of a large upload
    #[arg(long, value_name = "SIZE", value_parser = parse::size, default_value = "10M")]
    pub(crate) piece: u64,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Print a file of a box
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// File in a box; a relative path starts from the box's working directory
    #[arg(value_name = "BOX:PATH")]
    pub(crate) file: Location,

    /// User in the box, by name or number [default: the box's own]
    #[arg(short, long, value_parser = parse::user)]
    pub(crate) user: Option<ActingUser>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Write standard input to a file of a box
///
/// The file is replaced in one step when the input has ended; if it ends early the old file stays. With --append, --offset or
/// --in-place the file itself is written to as the input comes, and what has come stays; with --atomic a copy of it is, which
/// replaces it in one step.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    echo hello | devbox put try-1:greeting.txt\n  \
    devbox put --mode 755 try-1:/workspace/bin/run <run.sh\n  \
    make 2>&1 | devbox put --append try-1:build.log")]
pub(crate) struct PutArgs {
    /// File in a box; directories on the way to one that is replaced are made
    #[arg(value_name = "BOX:PATH")]
    pub(crate) file: Location,

    /// Permissions of the file, octal [default: those of the file it replaces, or 644]
    #[arg(long, value_parser = parse::mode, conflicts_with_all = ["append", "offset"])]
    pub(crate) mode: Option<u32>,

    /// Write after the end of the file, which is made if it is missing
    #[arg(long, conflicts_with = "offset")]
    pub(crate) append: bool,

    /// Write into the file from this offset on, in bytes
    #[arg(long, value_name = "BYTES", value_parser = parse::length)]
    pub(crate) offset: Option<u64>,

    /// Change a copy, which replaces the file when the input has ended
    #[arg(long)]
    pub(crate) atomic: bool,

    /// Write into the file that is there, so that its other names and whoever has it open see the new content
    #[arg(long, conflicts_with_all = ["append", "offset", "atomic"])]
    pub(crate) in_place: bool,

    /// User in the box, by name or number [default: the box's own]
    #[arg(short, long, value_parser = parse::user)]
    pub(crate) user: Option<ActingUser>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// List what boxes can be made from
#[derive(Debug, Args)]
pub(crate) struct TemplatesArgs {
    /// Print an array of templates as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Make, list and delete API keys
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

/// The commands on keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    Create(KeyCreateArgs),
    Ls(KeyLsArgs),
    Rm(KeyRmArgs),
}

/// Make an API key and print it, the only time that it is shown
#[derive(Debug, Args)]
pub(crate) struct KeyCreateArgs {
    /// Project whose boxes it reaches [default: that of the key in use]
    #[arg(long)]
    pub(crate) project: Option<String>,

    /// What it is good for
    #[arg(long, value_enum, default_value = "member")]
    pub(crate) role: Role,

    /// A name for people
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Print the key and what is known of it as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Boxes of its project
    Member,
    /// Everything in its project, and keys of any project
    Admin,
}

/// List API keys, oldest first
#[derive(Debug, Args)]
pub(crate) struct KeyLsArgs {
    /// Print an array of keys as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Delete API keys
#[derive(Debug, Args)]
pub(crate) struct KeyRmArgs {
    /// Ids of the keys, as `devbox key ls` shows them
    #[arg(value_name = "KEY", required = true)]
    pub(crate) ids: Vec<String>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Print the version of this program and of the agent in it
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
