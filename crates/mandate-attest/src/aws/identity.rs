//! What STS says about whoever signed a request.

use std::collections::BTreeMap;

use mandate_policy::decl::AwsRule;

/// A role, as STS names who assumed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallerRole {
    pub(super) partition: String,
    pub(super) account: String,
    pub(super) name: String,
    /// The role's unique id.
    pub(super) id: String,
    /// Chosen by whoever assumed the role. Recorded, and never evidence (FAILURES 28).
    session: String,
}

/// Why an answer of STS names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRole {
    #[error("AWS answered with something else than an identity")]
    Xml,
    #[error("AWS says that no role signed it; users and accounts are no agents")]
    NotAssumed,
    #[error("what AWS says of the role contradicts itself")]
    Contradiction,
}

impl CallerRole {
    /// Whether `rule` is about it. A role's name is unique in its account, whatever its path.
    pub(super) fn is(&self, rule: &AwsRule) -> bool {
        rule.partition == self.partition
            && rule.account == self.account
            && rule.role == self.name
            && rule.role_id.as_ref().is_none_or(|id| *id == self.id)
    }

    pub(super) fn facts(&self, region: &str) -> BTreeMap<String, String> {
        [
            ("account", self.account.as_str()),
            ("role", &self.name),
            ("role_id", &self.id),
            ("claimed_session_name", &self.session),
            ("region", region),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

/// Reads a `GetCallerIdentityResponse` of an endpoint in `partition`.
pub(super) fn read_identity(xml: &[u8], partition: &str) -> Result<CallerRole, NoRole> {
    let text = std::str::from_utf8(xml).map_err(|_| NoRole::Xml)?;
    // Documents with a type declaration are refused by default: no entities.
    let document = roxmltree::Document::parse(text).map_err(|_| NoRole::Xml)?;
    let root = document.root_element();
    if root.tag_name().name() != "GetCallerIdentityResponse"
        || root.tag_name().namespace() != Some(NAMESPACE)
    {
        return Err(NoRole::Xml);
    }
    let result = only_child(root, "GetCallerIdentityResult")?;
    let value = |name| text_of(only_child(result, name)?);
    let (arn, user, account) = (value("Arn")?, value("UserId")?, value("Account")?);
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", of_partition, "sts", "", of_account, resource] = parts.as_slice() else {
        return Err(NoRole::NotAssumed);
    };
    let names: Vec<&str> = resource.split('/').collect();
    let ["assumed-role", name, session] = names.as_slice() else {
        return Err(NoRole::NotAssumed);
    };
    let (id, of_user) = user.split_once(':').ok_or(NoRole::Contradiction)?;
    let agrees = *of_partition == partition
        && *of_account == account
        && of_user == *session
        && id.starts_with("AROA")
        && !name.is_empty();
    if !agrees {
        return Err(NoRole::Contradiction);
    }
    Ok(CallerRole {
        partition: partition.to_owned(),
        account: account.to_owned(),
        name: (*name).to_owned(),
        id: id.to_owned(),
        session: session.chars().take(64).collect(),
    })
}

/// The child of this name, of which there is one.
fn only_child<'a, 'i>(
    of: roxmltree::Node<'a, 'i>,
    name: &str,
) -> Result<roxmltree::Node<'a, 'i>, NoRole> {
    let mut named = of
        .children()
        .filter(|node| node.has_tag_name((NAMESPACE, name)));
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one),
        (_, _) => Err(NoRole::Xml),
    }
}

/// The text of an element that has nothing else.
fn text_of<'a>(of: roxmltree::Node<'a, '_>) -> Result<&'a str, NoRole> {
    let mut children = of.children();
    match (children.next(), children.next()) {
        (Some(text), None) if text.is_text() => text.text().ok_or(NoRole::Xml),
        (_, _) => Err(NoRole::Xml),
    }
}

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(arn: &str, user: &str, account: &str) -> String {
        format!(
            r#"<GetCallerIdentityResponse xmlns="{NAMESPACE}">
  <GetCallerIdentityResult><Arn>{arn}</Arn><UserId>{user}</UserId><Account>{account}</Account></GetCallerIdentityResult>
  <ResponseMetadata><RequestId>x</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>"#
        )
    }

    const ARN: &str = "arn:aws:sts::123456789012:assumed-role/Retriever/i-0abc";
    const USER: &str = "AROAEXAMPLE:i-0abc";

    fn read(text: &str) -> Result<CallerRole, NoRole> {
        read_identity(text.as_bytes(), "aws")
    }

    #[test]
    fn an_assumed_role_is_the_role_and_its_session_name_a_claim() {
        let role = read(&answer(ARN, USER, "123456789012")).unwrap();
        assert_eq!(
            (role.account.as_str(), role.name.as_str()),
            ("123456789012", "Retriever")
        );
        assert_eq!(role.id, "AROAEXAMPLE");
        assert_eq!(role.facts("eu-central-1")["claimed_session_name"], "i-0abc");
    }

    #[test]
    fn users_accounts_and_other_identities_are_no_roles() {
        for arn in [
            "arn:aws:iam::123456789012:user/retriever",
            "arn:aws:iam::123456789012:root",
            "arn:aws:sts::123456789012:federated-user/Retriever",
            "arn:aws:sts::123456789012:assumed-role/Retriever",
            "arn:aws:sts::123456789012:assumed-role/a/Retriever/i-0abc",
        ] {
            let refused = read(&answer(arn, USER, "123456789012"));
            assert_eq!(refused, Err(NoRole::NotAssumed), "{arn}");
        }
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_refused() {
        let refused = |arn: &str, user, account| read(&answer(arn, user, account));
        let contradiction = Err(NoRole::Contradiction);
        assert_eq!(refused(ARN, USER, "999999999999"), contradiction);
        assert_eq!(
            refused(ARN, "AROAEXAMPLE:other", "123456789012"),
            contradiction
        );
        assert_eq!(
            refused(ARN, "AIDAEXAMPLE:i-0abc", "123456789012"),
            contradiction
        );
        let china = ARN.replace("arn:aws:", "arn:aws-cn:");
        assert_eq!(refused(&china, USER, "123456789012"), contradiction);
    }

    #[test]
    fn what_is_no_such_document_is_refused() {
        let good = answer(ARN, USER, "123456789012");
        let twice = good.replace("<Account>", "<Arn>x</Arn><Account>");
        let inner = good.replace("AROAEXAMPLE", "<b/>AROAEXAMPLE");
        let comment = good.replace("Retriever/", "Retriever<!-- x -->/");
        let entity = format!("<!DOCTYPE x [<!ENTITY e \"x\">]>{good}");
        let other = good.replace("2011-06-15", "2012-06-15");
        for bad in ["", "{}", &twice, &inner, &comment, &entity, &other] {
            assert_eq!(read(bad), Err(NoRole::Xml), "{bad}");
        }
    }
}
