//! Where STS is. The caller says a region, and never a host (FAILURES 28).

/// STS in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) partition: &'static str,
}

impl Endpoint {
    /// The endpoint of a region in our list; `None` for any other.
    pub(super) fn of(region: &str) -> Option<Self> {
        let (partition, _, domain) = PARTITIONS
            .iter()
            .find(|(_, regions, _)| regions.contains(&region))?;
        let host = format!("sts.{region}.{domain}");
        Some(Self { host, partition })
    }
}

type Partition = (&'static str, &'static [&'static str], &'static str);

const PARTITIONS: &[Partition] = &[
    ("aws", COMMERCIAL, "amazonaws.com"),
    (
        "aws-cn",
        &["cn-north-1", "cn-northwest-1"],
        "amazonaws.com.cn",
    ),
    (
        "aws-us-gov",
        &["us-gov-east-1", "us-gov-west-1"],
        "amazonaws.com",
    ),
];

/// As AWS's own libraries list them in late 2026.
const COMMERCIAL: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_of_the_list_has_one_host_and_nothing_else_has_any() {
        let host = |region| Endpoint::of(region).map(|e| (e.host, e.partition));
        let eu = ("sts.eu-central-1.amazonaws.com".to_owned(), "aws");
        assert_eq!(host("eu-central-1"), Some(eu));
        let cn = ("sts.cn-north-1.amazonaws.com.cn".to_owned(), "aws-cn");
        assert_eq!(host("cn-north-1"), Some(cn));
        for other in [
            "",
            "EU-CENTRAL-1",
            "evil.example/",
            "eu-central-1.evil.example",
            "us-east-1@evil",
        ] {
            assert_eq!(host(other), None, "{other}");
        }
    }
}
