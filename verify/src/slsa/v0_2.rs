//! SLSA provenance v0.2.

use super::members::{Inputs, Members};
use super::{Claims, Conventions, Run, Source, commit, environment, tekton, v1};
use crate::error::Check;
use slipway_protocol::Refusal;

pub(super) fn read(mut predicate: Members<'_>) -> Result<Claims, Refusal> {
    let build_type = predicate.need("buildType")?;
    let conventions = Conventions::of(&build_type);
    let mut invocation = predicate.need_object("invocation")?;
    let mut config = invocation.object("configSource")?;
    let mut parameters = invocation.object("parameters")?;
    let materials = predicate.list("materials")?;
    let mut inputs = Inputs::default();
    let (stated, material, workflow) = match conventions {
        Conventions::Tekton => {
            let (material, workflow) = tekton::v0_2(config, &mut parameters, materials, &mut inputs)?;
            (None, material, workflow)
        }
        Conventions::BuildKit => {
            let (material, workflow) = v1::build_kit(config, "configSource", "entryPoint", materials, &mut inputs)?;
            (None, material, workflow)
        }
        Conventions::GitLab | Conventions::FirstMaterial => {
            let mut digest = config.object("digest")?;
            let commit = if conventions == Conventions::GitLab { v1::gitlab_commit(&mut digest)? } else { commit(&mut digest)? };
            let stated = Source::from_uri(&config.need("uri")?, commit);
            let workflow = config.fact(&["entryPoint"], Check::ClaimWorkflow)?;
            digest.into_inputs("configSource.digest", &mut inputs)?;
            config.into_inputs("configSource", &mut inputs)?;
            // GitLab's runner lists no materials: what was asked for is all there is.
            match conventions {
                Conventions::GitLab if materials.is_empty() => (None, stated, workflow),
                _ => (Some(stated), Source::first(materials, "materials")?, workflow),
            }
        }
    };
    let (environment, mut runs) = environment::github(invocation.object("environment")?, &mut inputs)?;
    let id = predicate.object("metadata")?.fact(&["buildInvocationId"], Check::ClaimRun)?;
    runs.extend(id.as_deref().and_then(Run::of_invocation));
    let mut claims = Claims {
        builder: predicate.need_object("builder")?.need("id")?,
        build_type,
        material,
        stated: stated.into_iter().collect(),
        environment,
        workflow,
        runs,
        inputs: Default::default(),
    };
    if conventions == Conventions::GitLab {
        environment::gitlab(&mut parameters, &mut claims)?;
    }
    inputs.add_named(parameters.take("inputs"))?;
    inputs.add_named(parameters.take("event_inputs"))?;
    parameters.into_inputs("", &mut inputs)?;
    invocation.into_inputs("invocation", &mut inputs)?;
    claims.inputs = inputs.into_map();
    Ok(claims)
}
