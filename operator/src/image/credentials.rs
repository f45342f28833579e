//! Reads the credentials that `docker login` keeps in `config.json`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<String>,
}

/// The credentials for a registry, if they are kept in the file itself. A helper program that keeps them elsewhere is not asked.
pub(super) fn of(registry: &str) -> Option<(String, String)> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    find(&std::fs::read(folder.join("config.json")).ok()?, registry)
}

fn find(config: &[u8], registry: &str) -> Option<(String, String)> {
    let config: Config = serde_json::from_slice(config).ok()?;
    let names = ["", "https://", "http://"]
        .into_iter()
        .flat_map(|scheme| ["", "/", "/v1/", "/v2/"].map(|path| format!("{scheme}{registry}{path}")));
    let auth = names.into_iter().find_map(|name| config.auths.get(&name)?.auth.clone())?;
    let decoded = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_under_the_names_that_docker_uses() {
        let config = br#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"dTpwOnc="},
            "ghcr.io":{"auth":"YTpi"},
            "helped.example":{},
            "broken.example":{"auth":"not base64"}
        },"credsStore":"desktop"}"#;
        let of = |registry| find(config, registry);
        assert_eq!(of("index.docker.io"), Some(("u".to_owned(), "p:w".to_owned())));
        assert_eq!(of("ghcr.io"), Some(("a".to_owned(), "b".to_owned())));
        for none in ["helped.example", "broken.example", "elsewhere.example", "hcr.io"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(find(b"{", "ghcr.io"), None);
    }
}
