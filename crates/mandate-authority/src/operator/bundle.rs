//! Bundles: look, check, apply, go back.

use std::time::Duration;

use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use mandate_audit::What;
use mandate_model::{BundleVersion, Timestamp};
use mandate_policy::decl::Right;
use mandate_policy::{Loaded, Mistake, Plan, plan};
use mandate_ports::{BundleRecord, Change, Unit};
use serde_json::{Value, json};

use super::MAX_BODY;
use super::caller::Operator;
use super::query::Query;
use super::rights::{self, Overreach};
use crate::Authority;
use crate::body;
use crate::breakglass::Resumers;
use crate::bundle;
use crate::commit::Receipted;
use crate::listen::Connection;
use crate::problem::Problem;
use crate::rollout;

/// Files of a bundle.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Files {
    /// Name and text of each.
    #[schema(value_type = Vec<Vec<String>>)]
    files: Vec<(String, String)>,
}

/// Files to apply.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Apply {
    /// Name and text of each.
    #[schema(value_type = Vec<Vec<String>>)]
    files: Vec<(String, String)>,
    /// The version that the plan was made against; 0 where none is live.
    #[schema(value_type = u64)]
    base: BundleVersion,
    /// How long to wait until every gateway decides by it, in milliseconds, at most 60000; not at all by default.
    #[serde(default)]
    wait_ms: u64,
}

/// A version to apply again.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Back {
    /// Which one.
    #[schema(value_type = u64)]
    version: BundleVersion,
    /// The version that is live as far as the operator knows.
    #[schema(value_type = u64)]
    base: BundleVersion,
    /// As in `Apply`.
    #[serde(default)]
    wait_ms: u64,
}

/// A bundle's files; the live one's by default.
#[utoipa::path(
    get, path = "/operator/v1/bundle", tag = "operators",
    params(("version" = Option<u64>, Query, description = "An earlier version")),
    responses(
        (status = 200, description = "The bundle", body = Object),
        (status = 404, description = "There is none", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn show(
    State(at): State<Connection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let version = query.number("version")?.map(BundleVersion::new);
    query.end()?;
    let operator = Operator::any(&at, "bundle").await?;
    operator.looks(&at, "bundle").await?;
    let (version, record) = stored(&at.authority, version).await?;
    Ok(body::answer(&json!({
        "version": version,
        "digest": record.digest,
        "operator": record.operator,
        "at": record.at,
        "files": record.files,
    })))
}

/// What a bundle that loads would change.
#[derive(Debug, serde::Serialize)]
struct Checked {
    base: BundleVersion,
    digest: String,
    warnings: Vec<Mistake>,
    changes_upstreams: bool,
    plan: PlanInWords,
}

/// Every mistake, and what the bundle would change.
#[utoipa::path(
    post, path = "/operator/v1/bundle/check", tag = "operators",
    request_body = Files,
    responses(
        (status = 200, description = "It loads", body = Object),
        (status = 422, description = "Every mistake", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn check(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    let operator = Operator::any(&at, "bundle_check").await?;
    let asked: Files = body::json(request, MAX_BODY).await?;
    operator.looks(&at, "bundle_check").await?;
    let loaded = load(&at.authority, &asked.files, at.authority.now()).await?;
    let world = at.authority.world();
    let plan = plan(world.bundle().map(|live| &*live.bundle), &loaded.bundle);
    Ok(body::answer(&Checked {
        base: world.live.version(),
        digest: bundle::digest(&asked.files),
        warnings: loaded.warnings,
        changes_upstreams: plan.touches_upstreams(),
        plan: say(&plan),
    }))
}

/// Makes a bundle live.
#[utoipa::path(
    post, path = "/operator/v1/bundle/apply", tag = "operators",
    request_body = Apply,
    responses(
        (status = 200, description = "It is live", body = Object),
        (status = 409, description = "Another one became live since", body = crate::openapi::ProblemBody),
        (status = 422, description = "Every mistake", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn apply(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    let operator = Operator::permitted(&at, "bundle_apply", Right::Apply, None).await?;
    let asked: Apply = body::json(request, MAX_BODY).await?;
    let live = make_live(&at, asked.files, asked.base, None).await;
    let live = operator.outcome(&at, "bundle_apply", live).await?;
    Ok(live.answer(&at.authority, asked.wait_ms).await)
}

/// Makes an earlier bundle live again, as a new version.
#[utoipa::path(
    post, path = "/operator/v1/bundle/back", tag = "operators",
    request_body = Back,
    responses(
        (status = 200, description = "It is live", body = Object),
        (status = 404, description = "There is no such version", body = crate::openapi::ProblemBody),
        (status = 409, description = "Another one became live since", body = crate::openapi::ProblemBody),
    ),
)]
pub(crate) async fn back(
    State(at): State<Connection>,
    request: Request,
) -> Result<Response, Problem> {
    // Whoever may not apply learns nothing of which versions there are.
    let operator = Operator::permitted(&at, "bundle_back", Right::Apply, None).await?;
    let asked: Back = body::json(request, 4096).await?;
    let live = go_back(&at, &asked).await;
    let live = operator.outcome(&at, "bundle_back", live).await?;
    Ok(live.answer(&at.authority, asked.wait_ms).await)
}

async fn go_back(at: &Connection, asked: &Back) -> Result<MadeLive, Problem> {
    let (_, record) = stored(&at.authority, Some(asked.version)).await?;
    make_live(at, record.files, asked.base, Some(asked.version)).await
}

/// A bundle that is committed.
struct MadeLive {
    version: BundleVersion,
    digest: String,
    warnings: Vec<Mistake>,
    /// Whether it was live before, to the letter: then there is no new version.
    unchanged: bool,
}

impl MadeLive {
    /// Waits for the gateways, as long as was asked for. An operator who goes away changes nothing.
    async fn answer(self, authority: &Authority, wait_ms: u64) -> Response {
        let limit = Duration::from_millis(wait_ms).min(LONGEST_WAIT);
        let rollout = rollout::follow(authority, self.version, limit).await;
        body::answer(&json!({
            "version": self.version,
            "digest": self.digest,
            "warnings": self.warnings,
            "unchanged": self.unchanged,
            "effective": rollout.effective,
            "gateways": rollout.gateways,
        }))
    }
}

async fn make_live(
    at: &Connection,
    mut files: Vec<(String, String)>,
    base: BundleVersion,
    back_to: Option<BundleVersion>,
) -> Result<MadeLive, Problem> {
    let authority = &at.authority;
    files.sort();
    let now = authority.now();
    let loaded = load(authority, &files, now).await?;
    let world = authority.refresh().await?;
    // Once more: reading the body took its time.
    let operator = Operator::permitted(at, "bundle_apply", Right::Apply, None).await?;
    if let Some(live) = world.bundle()
        && !operator.is_bootstrap()
        && let Err(why) = rights::check(operator.identity(), &live.bundle, &loaded.bundle)
    {
        let refused = operator.refused(at, "bundle_apply", why.rule(), why.to_string());
        return Err(refused.await);
    }
    // It says where secrets go: a right of its own (C4).
    if plan(world.bundle().map(|live| &*live.bundle), &loaded.bundle).touches_upstreams() {
        Operator::permitted(at, "bundle_apply_upstreams", Right::Upstreams, None).await?;
    }
    // What was compared is what the operator saw; the store checks that it is still live.
    if world.live.version() != base {
        let live = world.live.version();
        let detail = format!("bundle version {live} is live by now; look at it and apply again");
        return Err(Problem::conflict("bundle", detail));
    }
    let digest = bundle::digest(&files);
    if world
        .bundle()
        .is_some_and(|live| live.record.digest == digest)
    {
        operator.looks(at, "bundle_apply_unchanged").await?;
        return Ok(MadeLive {
            version: base,
            digest,
            warnings: loaded.warnings,
            unchanged: true,
        });
    }
    let record = BundleRecord {
        digest: digest.clone(),
        files,
        operator: operator.principal(),
        at: now,
    };
    let resumers = Resumers::of(&loaded.bundle);
    authority
        .compiler()
        .is_about_to_apply(&record, loaded.bundle);
    let version = base.next();
    let what = What::BundleApplied {
        version,
        digest: digest.clone(),
        back_to,
    };
    let unit = Unit {
        changes: vec![Change::ApplyBundle { base, record }],
        events: vec![operator.event(authority, what)],
        ..Unit::default()
    };
    let Some(committed) = commit(authority, &operator, &resumers, unit).await? else {
        // Whoever was suspended meanwhile hears that.
        Operator::permitted(at, "bundle_apply", Right::Apply, None).await?;
        let why = Overreach::NobodyResumes;
        let refused = operator.refused(at, "bundle_apply", why.rule(), why.to_string());
        return Err(refused.await);
    };
    let version = committed.versions().bundle;
    tracing::info!(%version, operator = %operator.name(), "a bundle is live");
    Ok(MadeLive {
        version: committed.versions().bundle,
        digest,
        warnings: loaded.warnings,
        unchanged: false,
    })
}

/// Commits a bundle, if neither `operator` nor all of `resumers` are suspended.
async fn commit(
    authority: &Authority,
    operator: &Operator,
    resumers: &Resumers,
    unit: Unit,
) -> Result<Option<Receipted>, Problem> {
    // Alone: nobody is suspended between the look and the commit.
    let _alone = authority.gate().write().await;
    let world = authority.refresh().await?;
    if operator.is_stopped(&world) || !resumers.is_one_left(&world.stops) {
        return Ok(None);
    }
    Ok(Some(authority.commit_held(unit).await?))
}

async fn load(
    authority: &Authority,
    files: &[(String, String)],
    now: Timestamp,
) -> Result<Loaded, Problem> {
    let loaded = authority.compiler().load(files, authority.config(), now);
    let loaded = loaded.await.map_err(|why| {
        tracing::error!(%why, "a bundle was not compiled");
        Problem::unavailable()
    })?;
    loaded
        .map_err(|mistakes| Problem::bundle(serde_json::to_value(mistakes).unwrap_or(Value::Null)))
}

async fn stored(
    authority: &Authority,
    version: Option<BundleVersion>,
) -> Result<(BundleVersion, BundleRecord), Problem> {
    let found = authority.ports().state.bundle(version).await?;
    found.ok_or_else(|| {
        // Each version is the next of the one before, and all are kept.
        Problem::unknown(match authority.world().live.version().get() {
            0 => "no bundle was ever live".to_owned(),
            1 => "there is no such bundle; the one version is 1".to_owned(),
            last => format!("there is no such bundle; the versions are 1 to {last}"),
        })
    })
}

/// What changes for whom, in words, in the order in which it is to be read: what redirects secrets
/// comes first (C4), then what weakens break-glass.
#[derive(Debug, serde::Serialize)]
struct PlanInWords {
    upstreams: Vec<String>,
    weakens: Vec<String>,
    gains: Vec<String>,
    losses: Vec<String>,
    conditions: Vec<String>,
    others: Vec<String>,
}

fn say(plan: &Plan) -> PlanInWords {
    PlanInWords {
        upstreams: words(&plan.upstreams),
        weakens: words(&plan.weakens),
        gains: words(&plan.gains),
        losses: words(&plan.losses),
        conditions: words(plan.conditions.iter().map(|c| &c.row)),
        others: words(&plan.others),
    }
}

fn words<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

const LONGEST_WAIT: Duration = Duration::from_secs(60);
