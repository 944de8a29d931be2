//! Configuration: a TOML file, then `SIPCAST_<SECTION>_<KEY>` variables, then flags; each overrides the one before.
//! Unknown keys and wrong values are refused with the place they stand at.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

mod rules;
mod sections;

pub use sections::*;

/// The example file, which documents every key with its default.
pub const EXAMPLE: &str = include_str!("../docs/sipcast.example.toml");

/// What is wrong with the configuration and where.
#[derive(Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable(PathBuf, String),
    /// The file is no TOML, or has an unknown key or a wrong value; the text names line and column.
    File(PathBuf, String),
    /// A variable is unknown or has a wrong value.
    Variable(String, String),
    /// A `--set` is unknown or wrong.
    Flag(String, String),
    /// A value is outside its range: section and key, what is expected.
    Range(&'static str, &'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::File(path, why) => write!(f, "in {}: {why}", path.display()),
            Self::Variable(name, why) => write!(f, "environment variable {name}: {why}"),
            Self::Flag(flag, why) => write!(f, "flag {flag}: {why}"),
            Self::Range(key, expected) => write!(f, "{key} must be {expected}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads `defaults` (as `section.key`, value), file, variables and settings, in rising precedence.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load(
        defaults: &[(&str, &str)],
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        settings: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut table = Table::new();
        for (key, value) in defaults {
            let (section, name) = key.split_once('.').unwrap_or((key, ""));
            set(&mut table, section, name, value).map_err(|why| ConfigError::Flag((*key).to_owned(), why))?;
        }
        if let Some(path) = file {
            merge(&mut table, read_file(path)?);
        }
        for (name, value) in variables {
            let Some(key) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            let (section, key) = key.split_once('_').unwrap_or((key, ""));
            let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
            set(&mut table, &section, &key, &value).map_err(|why| ConfigError::Variable(name, why))?;
        }
        for (key, value) in settings {
            let (section, name) = key.split_once('.').unwrap_or((key, ""));
            set(&mut table, section, name, value)
                .map_err(|why| ConfigError::Flag(format!("--set {key}"), why))?;
        }
        let config = Config::deserialize(Value::Table(table)).map_err(|error| {
            // Each part was checked as it came in; only their combination could still be wrong.
            ConfigError::Flag("--set".to_owned(), error.to_string())
        })?;
        rules::check(&config)?;
        Ok(config)
    }
}

/// What every variable begins with.
const VARIABLE_PREFIX: &str = "SIPCAST_";

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable(path.to_owned(), error.to_string()))?;
    // Its own text would repeat the line, and that may hold a password or a key.
    let wrong = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let (line, column) =
            (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
        ConfigError::File(path.to_owned(), format!("line {line}, column {column}: {}", error.message()))
    };
    // Read twice: into its types for errors that name line and column, then as a table to be overlaid.
    toml::from_str::<Config>(&text).map_err(wrong)?;
    toml::from_str(&text).map_err(wrong)
}

fn merge(table: &mut Table, over: Table) {
    for (section, values) in over {
        match (table.get_mut(&section), values) {
            (Some(Value::Table(below)), Value::Table(values)) => below.extend(values),
            (_, values) => {
                table.insert(section, values);
            }
        }
    }
}

/// Puts one setting into `table` if the whole stays a valid configuration.
fn set(table: &mut Table, section: &str, key: &str, text: &str) -> Result<(), String> {
    let mut last = String::new();
    // A number or boolean where the key takes one, else the text itself.
    for value in [scalar(text), Some(Value::String(text.to_owned()))].into_iter().flatten() {
        let mut alone = Table::new();
        alone.insert(section.to_owned(), Value::Table(Table::from_iter([(key.to_owned(), value.clone())])));
        match Config::deserialize(Value::Table(alone)) {
            Ok(_) => {
                let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(entry) = entry {
                    entry.insert(key.to_owned(), value);
                }
                return Ok(());
            }
            Err(error) if last.is_empty() => last = error.to_string().trim().to_owned(),
            Err(_) => {}
        }
    }
    Err(last)
}

fn scalar(text: &str) -> Option<Value> {
    if text.starts_with('[') {
        return toml::from_str::<Table>(&format!("list = {text}")).ok()?.remove("list");
    }
    text.parse::<i64>().map(Value::Integer).or_else(|_| text.parse::<bool>().map(Value::Boolean)).ok()
}

#[cfg(test)]
mod tests;
