//! Reads version and platform from the names of KubeEdge's release archives.

use slipway_protocol::{Platform, Version};

/// What the name of one of KubeEdge's archives says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KubeEdge {
    /// The release.
    pub version: Version,
    /// The platform.
    pub platform: Platform,
    /// Where edgecore is in it.
    pub member: String,
}

impl KubeEdge {
    /// Reads `kubeedge-v1.23.1-linux-amd64.tar.gz`.
    #[must_use]
    pub fn of(file_name: &str) -> Option<Self> {
        let folder = file_name.strip_suffix(".tar.gz")?;
        let (version, arch) = folder.strip_prefix("kubeedge-")?.rsplit_once("-linux-")?;
        let platform = format!("linux/{arch}").parse().ok()?;
        Some(Self { version: version.parse().ok()?, platform, member: format!("{folder}/edge/edgecore") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeedge_names_say_it_all() {
        let known = KubeEdge::of("kubeedge-v1.13.0-beta.1-linux-arm64.tar.gz").unwrap();
        assert_eq!(known.version.as_str(), "v1.13.0-beta.1");
        assert_eq!(known.platform, Platform::LinuxArm64);
        assert_eq!(known.member, "kubeedge-v1.13.0-beta.1-linux-arm64/edge/edgecore");
        for other in
            ["kubeedge-v1.13.0-windows-amd64.tar.gz", "keadm-v1.13.0-linux-amd64.tar.gz", "kubeedge-v1.13.0-linux-amd64.zip"]
        {
            assert_eq!(KubeEdge::of(other), None, "{other}");
        }
    }
}
