//! Options: each is a flag, an environment variable and a key of a file, of the same name.
//!
//! `--grpc-address`, `STEADFAST_GRPC_ADDRESS` and `grpc-address = "…"` are one option, in this
//! order of precedence. The flags are defined once, with clap, beside the command that uses them;
//! the file becomes their default values, so nothing is defined twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with an option, before anything has been started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by `--config` cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is longer than [`FILE_BYTES_MAX`].
    #[error("the configuration file {path} is longer than {FILE_BYTES_MAX} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, one line.
        message: String,
    },
    /// No command has an option of that name.
    #[error(
        "{path}: no option is named `{key}`; keys are the flags' names, \
         see `steadfast server --help`"
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A table or a date where a value was expected.
    #[error("{path}: `{key}` must be a string, a number, a boolean or a list of these")]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A list of members that cannot be used.
    #[error("{0}: {1}; write 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT")]
    Members(&'static str, String),
    /// An option's value fits its form but not the other options.
    #[error("{0}")]
    Contradiction(String),
}

/// Longest configuration file, in bytes: a thousand times what all options need.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Makes the file's values the defaults of `command`'s options, in all subcommands.
///
/// The file is named by `--config` in `args` or by `STEADFAST_CONFIG`; without one the command
/// comes back as it is. A key that no command knows is refused, because a mistyped key would
/// silently mean the default.
pub fn with_file(
    command: clap::Command,
    args: &[OsString],
    env: Option<OsString>,
) -> Result<clap::Command, ConfigError> {
    let Some(path) = file_name(args).or(env).map(PathBuf::from) else {
        return Ok(command);
    };
    let values = read(&path)?;
    let mut known = BTreeSet::new();
    option_names(&command, &mut known);
    if let Some(key) = values.keys().find(|key| !known.contains(*key)) {
        return Err(ConfigError::UnknownKey {
            path,
            key: key.clone(),
        });
    }
    Ok(set_defaults(command, &values))
}

fn file_name(args: &[OsString]) -> Option<OsString> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if text == "--config" {
            return args.next().cloned();
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(path.into());
        }
    }
    None
}

fn read(path: &Path) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.into(),
        source,
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(ConfigError::TooLong { path: path.into() });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].lines().count().max(1));
        ConfigError::Syntax {
            path: path.into(),
            message: format!("line {line}: {}", error.message().replace('\n', " ")),
        }
    })?;
    table
        .into_iter()
        .map(|(key, value)| match texts(value) {
            Some(values) => Ok((key, values)),
            None => Err(ConfigError::WrongType {
                path: path.into(),
                key,
            }),
        })
        .collect()
}

fn texts(value: toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(items) => {
            let mut all = Vec::with_capacity(items.len());
            for item in items {
                all.extend(texts(item)?);
            }
            Some(all)
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn option_names(command: &clap::Command, names: &mut BTreeSet<String>) {
    names.extend(
        command
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .map(String::from),
    );
    for subcommand in command.get_subcommands() {
        option_names(subcommand, names);
    }
}

fn set_defaults(
    mut command: clap::Command,
    values: &BTreeMap<String, Vec<String>>,
) -> clap::Command {
    let ids: Vec<(clap::Id, Vec<String>)> = command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_id().clone(), values.get(arg.get_long()?)?.clone())))
        .collect();
    for (id, texts) in ids {
        // clap keeps defaults as `&'static str`. The file is read once per process and is
        // bounded, so its values may live as long as the process.
        let texts: Vec<&'static str> = texts
            .into_iter()
            .map(|text| &*Box::leak(text.into_boxed_str()))
            .collect();
        command = command.mut_arg(id, |arg| arg.default_values(texts).required(false));
    }
    command.mut_subcommands(|subcommand| set_defaults(subcommand, values))
}

/// Splits `HOST:PORT`; the host may be a name, an IPv4 address or an IPv6 address in brackets.
pub fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("`{text}` is not HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse::<u16>().map_err(|_| wrong())?;
    let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || host.len() > 255 || bare_ipv6 || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok((host.to_string(), port))
}

/// clap's parser for an address that others connect to: `HOST:PORT` with a port above 0.
pub fn peer_address(text: &str) -> Result<String, String> {
    let (_, port) = host_and_port(text)?;
    if port == 0 {
        return Err(format!("`{text}` has port 0, which nobody can connect to"));
    }
    Ok(text.to_string())
}

/// The members of a new cluster: node id and Raft address.
pub fn initial_members(list: &[String]) -> Result<BTreeMap<u64, String>, ConfigError> {
    let members = member_addresses("--initial-members", list)?;
    if !matches!(members.len(), 0 | 1 | 3 | 5) {
        // Even numbers tolerate no more faults than the odd number below them.
        return Err(ConfigError::Members(
            "--initial-members",
            format!("{} members; a cluster begins with 1, 3 or 5", members.len()),
        ));
    }
    Ok(members)
}

/// An address for some members: ids from 1, nothing twice.
///
/// # Errors
/// [`ConfigError::Members`] names the option.
pub fn member_addresses(
    option: &'static str,
    list: &[String],
) -> Result<BTreeMap<u64, String>, ConfigError> {
    let mut members = BTreeMap::new();
    for item in list {
        let wrong = |why: String| ConfigError::Members(option, format!("`{item}`: {why}"));
        let (id, address) = item
            .split_once('=')
            .ok_or_else(|| wrong("no `=` in it".into()))?;
        let id: u64 = id
            .trim()
            .parse()
            .map_err(|_| wrong("the id is not a number".into()))?;
        let address = peer_address(address.trim()).map_err(wrong)?;
        if id == 0 {
            return Err(wrong("node ids begin at 1".into()));
        }
        if members.values().any(|other| *other == address) {
            return Err(wrong("two members have this address".into()));
        }
        if members.insert(id, address).is_some() {
            return Err(wrong("two members have this id".into()));
        }
    }
    Ok(members)
}

/// clap's parser for `KEY=JSON` of `--dynamic-config-value`.
pub fn dynamic_config_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=JSON")?;
    if key.is_empty() || key.len() > 255 {
        return Err("the key must have 1 to 255 bytes".into());
    }
    serde_json::from_str::<serde_json::Value>(value)
        .map_err(|error| format!("the value is not JSON: {error}"))?;
    Ok((key.to_string(), value.to_string()))
}

/// clap's parser for `NAME=TYPE` of `--search-attribute`; gives Temporal's `IndexedValueType`.
pub fn search_attribute(text: &str) -> Result<(String, i32), String> {
    use steadfast_proto::temporal::enums::v1::IndexedValueType as Type;
    let (name, kind) = text.split_once('=').ok_or("write NAME=TYPE")?;
    if name.is_empty() || name.len() > 255 {
        return Err("the name must have 1 to 255 bytes".into());
    }
    let kind = match kind.to_ascii_lowercase().as_str() {
        "text" => Type::Text,
        "keyword" => Type::Keyword,
        "int" => Type::Int,
        "double" => Type::Double,
        "bool" => Type::Bool,
        "datetime" => Type::Datetime,
        "keywordlist" => Type::KeywordList,
        other => {
            return Err(format!(
                "`{other}` is not a type; use Text, Keyword, Int, Double, Bool, Datetime or \
                 KeywordList"
            ));
        }
    };
    Ok((name.to_string(), kind as i32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    fn parse(file: &str, args: &[&str]) -> Result<clap::ArgMatches, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steadfast.toml");
        std::fs::write(&path, file).unwrap();
        let mut all: Vec<OsString> = args.iter().map(OsString::from).collect();
        all.push("--config".into());
        all.push(path.into());
        let command = with_file(Cli::command(), &all, None).map_err(|e| e.to_string())?;
        command.try_get_matches_from(all).map_err(|e| e.to_string())
    }

    /// Each option that a user sees has the flag's name in the environment too.
    #[test]
    fn each_option_has_its_environment_variable() {
        fn walk(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let Some(long) = arg.get_long() else { continue };
                if matches!(long, "help" | "version") {
                    continue;
                }
                let want = format!("STEADFAST_{}", long.replace('-', "_").to_uppercase());
                let got = arg.get_env().map(|name| name.to_string_lossy().to_string());
                assert_eq!(got, Some(want), "--{long} of {}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
        Cli::command().debug_assert();
    }

    #[test]
    fn file_gives_values_and_flags_win() {
        let file = "node-id = 7\ninitial-members = [\"7=a:1\", \"8=b:1\", \"9=c:1\"]\n";
        let matches = parse(file, &["steadfast", "server"]).unwrap();
        let server = matches.subcommand_matches("server").unwrap();
        assert_eq!(server.get_one::<u64>("node_id"), Some(&7));
        let members: Vec<&String> = server.get_many("initial_members").unwrap().collect();
        assert_eq!(members, ["7=a:1", "8=b:1", "9=c:1"]);

        let matches = parse(file, &["steadfast", "server", "--node-id", "8"]).unwrap();
        let server = matches.subcommand_matches("server").unwrap();
        assert_eq!(server.get_one::<u64>("node_id"), Some(&8));
    }

    #[test]
    fn file_gives_booleans() {
        let matches = parse("ephemeral = true\nnodes = 5\n", &["steadfast", "dev"]).unwrap();
        let dev = matches.subcommand_matches("dev").unwrap();
        assert!(dev.get_flag("ephemeral"));
    }

    #[test]
    fn bad_files_are_one_clear_line() {
        let error = parse("node-idd = 7\n", &["steadfast", "server"]).unwrap_err();
        assert!(error.contains("no option is named `node-idd`"), "{error}");
        let error = parse("[node-id]\na = 1\n", &["steadfast", "server"]).unwrap_err();
        assert!(error.contains("`node-id` must be a string"), "{error}");
        let error = parse("a = 1\nnode-id = = 7\n", &["steadfast", "server"]).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        let args = ["steadfast", "server", "--config", "/none/at/all"].map(OsString::from);
        let error = with_file(Cli::command(), &args, None)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot read the configuration file"),
            "{error}"
        );
    }

    #[test]
    fn members_are_checked() {
        let list = |text: &str| text.split(',').map(String::from).collect::<Vec<_>>();
        let good = initial_members(&list("1=a:1,2=[::1]:2,3=c:3")).unwrap();
        assert_eq!(good[&2], "[::1]:2");
        for (bad, why) in [
            ("1=a:1,2=b:1", "1, 3 or 5"),
            ("1=a:1,1=b:1,2=c:1", "two members have this id"),
            ("1=a:1,2=a:1,3=c:1", "two members have this address"),
            ("0=a:1", "begin at 1"),
            ("x=a:1", "not a number"),
            ("1=a", "not HOST:PORT"),
            ("1=a:0", "port 0"),
            ("1=::1:7", "not HOST:PORT"),
            ("a:1", "no `=`"),
        ] {
            let error = initial_members(&list(bad)).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn repeatable_values_are_checked() {
        assert!(dynamic_config_value("limit.blobSize.error=1024").is_ok());
        assert!(dynamic_config_value("a=[1,2").is_err());
        assert_eq!(search_attribute("Region=keyword").unwrap().0, "Region");
        assert!(search_attribute("Region=colour").is_err());
    }
}
