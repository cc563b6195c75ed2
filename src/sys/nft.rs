//! Firewall rules, through `nft`. Owns the call and its errors; the rules are planned elsewhere. Must
//! never change rules in more than one transaction.

use std::time::Duration;

use serde_json::Value;

use super::netspace::NetSpace;
use super::process::{Exit, Output, Purpose, Spawn, SpawnError};

const DEADLINE: Duration = Duration::from_secs(10);

/// Why the rules are not there.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NftError {
    #[error("nft could not be run; is the package nftables installed?")]
    Run(#[from] SpawnError),
    #[error("nft refused: {0}")]
    Refused(String),
    #[error("nft answered what is not understood")]
    Answer(#[from] serde_json::Error),
}

async fn nft(space: &NetSpace, args: &[&str], script: Option<&str>) -> Result<Output, NftError> {
    let input = script.map(|s| s.as_bytes().to_vec());
    let output =
        Spawn::brief("nft", Purpose::Firewall).args(args).enter(space).output(input, DEADLINE).await?;
    if output.exit == Exit::Code(0) {
        return Ok(output);
    }
    let words: Vec<&str> = output.stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    Err(NftError::Refused(words.join(" ")))
}

/// Loads a script as one transaction: all of it or nothing.
pub async fn apply(space: &NetSpace, script: &str) -> Result<(), NftError> {
    nft(space, &["-f", "-"], Some(script)).await.map(drop)
}

/// All tables, as family and name.
pub async fn tables(space: &NetSpace) -> Result<Vec<(String, String)>, NftError> {
    let output = nft(space, &["-j", "list", "tables"], None).await?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let entries = answer["nftables"].as_array().into_iter().flatten();
    let table = |entry: &Value| {
        let text = |key: &str| Some(entry["table"][key].as_str()?.to_owned());
        Some((text("family")?, text("name")?))
    };
    Ok(entries.filter_map(table).collect())
}

/// Removes a table; one that is not there is as good.
pub async fn delete_table(space: &NetSpace, family: &str, name: &str) -> Result<(), NftError> {
    // To add a table that is there changes nothing, and one that was not there is added and removed.
    apply(space, &format!("add table {family} {name}\ndelete table {family} {name}\n")).await
}
