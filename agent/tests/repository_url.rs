//! A repository URL without a repository: the refusal says where it looked and what to correct.

use slipway_agent::fetch::{Client, HttpSettings};
use slipway_agent::tls::{TlsSettings, client_config};
use slipway_agent::trust::{NoCandidate, RepositoryTransport, Transport, follow};
use slipway_testkit::server::ReleaseServer;
use slipway_testkit::tuf::Repository;
use slipway_verify::tuf::{Floors, Refresh, Rules, Stored};

#[tokio::test]
async fn a_url_without_a_repository_says_where_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    let mut repository = Repository::bare("2090-01-01T00:00:00Z".parse().unwrap());
    repository.publish();
    repository.write_to(&dir.path().join("releases")).unwrap();
    let root = std::fs::read(dir.path().join("releases/metadata/1.root.json")).unwrap();
    let server = ReleaseServer::start(dir.path()).unwrap();
    let settings = HttpSettings { allow_http: true, proxy: Some("none".to_owned()), ..HttpSettings::default() };
    let client = Client::new(&settings, &client_config(&TlsSettings::default()).unwrap()).unwrap();
    let look = async |folder: &str| {
        let base = format!("{}/{folder}", server.url()).parse().unwrap();
        let place = RepositoryTransport::operator(&Transport::Http(client.clone(), base));
        let rules = Rules::at("2026-11-22T12:00:00Z".parse().unwrap());
        let refresh = Refresh::begin(&root, Stored::default(), &Floors::default(), rules).unwrap();
        follow(&place, refresh, &mut Floors::default(), |_| Ok(())).await
    };
    assert!(look("releases/").await.is_ok());
    let Err(NoCandidate::Refused(refusal, None)) = look("").await else { panic!("there is no repository") };
    assert!(refusal.seen.ends_with("/metadata/timestamp.json") && refusal.seen.contains("http://"), "{refusal}");
    assert!(refusal.advice.contains("`url` in [repository]"), "{refusal}");
}
