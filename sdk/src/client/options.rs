//! How a workflow is started.

use crate::client::error::CallError;
use crate::converter::{ConversionError, Converter, Value};
use crate::duration::to_wire;
use crate::retry_policy::RetryPolicy;
use crate::search_attributes::SearchAttributes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::deployment::v1::WorkerDeploymentVersion;
use steadfast_proto::temporal::enums::v1::{
    TaskQueueKind, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
};
use steadfast_proto::temporal::sdk::v1::UserMetadata;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflow::v1 as workflow;
use steadfast_proto::temporal::workflow::v1::versioning_override::{
    Override, PinnedOverride, PinnedOverrideBehavior,
};

/// A value whose type is forgotten until a converter writes it.
type Later = Arc<dyn Fn(&Converter) -> Result<common::Payload, ConversionError> + Send + Sync>;

/// Values by name that come with a workflow or a schedule and can be read by who lists them.
#[derive(Clone, Default)]
pub struct Memo(BTreeMap<String, Later>);

impl Memo {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with this value.
    pub fn with<T: Value + Send + Sync>(mut self, name: &str, value: T) -> Self {
        let later = Arc::new(move |converter: &Converter| converter.to_payload(&value));
        self.0.insert(name.to_string(), later);
        self
    }

    pub(super) fn to_wire(
        &self,
        converter: &Converter,
    ) -> Result<Option<common::Memo>, ConversionError> {
        let mut fields = BTreeMap::new();
        for (name, value) in &self.0 {
            fields.insert(name.clone(), value(converter)?);
        }
        Ok((!fields.is_empty()).then_some(common::Memo { fields }))
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// The order of tasks in a queue.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Priority {
    /// 1 is served first, 5 last; 0 means 3.
    pub priority_key: i32,
    /// Keys share the queue fairly.
    pub fairness_key: String,
    /// The key's share; 0 means 1.
    pub fairness_weight: f32,
}

impl Priority {
    pub(crate) fn to_wire(&self) -> common::Priority {
        common::Priority {
            priority_key: self.priority_key,
            fairness_key: self.fairness_key.clone(),
            fairness_weight: self.fairness_weight,
        }
    }
}

/// Which version of its code a workflow runs on, whatever the deployment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersioningOverride {
    /// On the current version of its deployment, always.
    AutoUpgrade,
    /// On this one, to its end.
    Pinned {
        /// The name of the deployment.
        deployment_name: String,
        /// The build id.
        build_id: String,
    },
}

impl VersioningOverride {
    fn to_wire(&self) -> workflow::VersioningOverride {
        let chosen = match self {
            VersioningOverride::AutoUpgrade => Override::AutoUpgrade(true),
            VersioningOverride::Pinned {
                deployment_name,
                build_id,
            } => Override::Pinned(PinnedOverride {
                behavior: PinnedOverrideBehavior::Pinned as i32,
                version: Some(WorkerDeploymentVersion {
                    deployment_name: deployment_name.clone(),
                    build_id: build_id.clone(),
                }),
            }),
        };
        workflow::VersioningOverride {
            r#override: Some(chosen),
            ..Default::default()
        }
    }
}

macro_rules! setters {
    ($($(#[$about:meta])* $name:ident: $type:ty;)+) => {
        $($(#[$about])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = Some($name);
            self
        })+
    };
}

/// How a workflow is started: its id, its task queue, and what else Temporal knows.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    pub(super) workflow_id: String,
    task_queue: String,
    execution_timeout: Option<Duration>,
    run_timeout: Option<Duration>,
    task_timeout: Option<Duration>,
    pub(super) id_reuse_policy: Option<WorkflowIdReusePolicy>,
    pub(super) id_conflict_policy: Option<WorkflowIdConflictPolicy>,
    retry_policy: Option<RetryPolicy>,
    cron_schedule: Option<String>,
    memo: Option<Memo>,
    search_attributes: Option<SearchAttributes>,
    pub(super) start_delay: Option<Duration>,
    static_summary: Option<String>,
    static_details: Option<String>,
    priority: Option<Priority>,
    versioning_override: Option<VersioningOverride>,
    pub(super) eager_start: bool,
}

impl StartOptions {
    /// A workflow of this id, for workers of this task queue.
    pub fn new(workflow_id: impl Into<String>, task_queue: impl Into<String>) -> Self {
        Self {
            workflow_id: workflow_id.into(),
            task_queue: task_queue.into(),
            ..Self::default()
        }
    }

    setters! {
        /// How long it may take with all its runs.
        execution_timeout: Duration;
        /// How long one run may take.
        run_timeout: Duration;
        /// How long a worker may take for one workflow task; 10 s when it is not set.
        task_timeout: Duration;
        /// Whether a closed workflow of this id allows a new one; it does when it is not set.
        id_reuse_policy: WorkflowIdReusePolicy;
        /// What happens when a workflow of this id runs; it is an error when it is not set.
        id_conflict_policy: WorkflowIdConflictPolicy;
        /// How it is tried again when it fails; not at all when it is not set.
        retry_policy: RetryPolicy;
        /// Values for who lists workflows.
        memo: Memo;
        /// What it is found by.
        search_attributes: SearchAttributes;
        /// How long the first workflow task waits.
        start_delay: Duration;
        /// The order of its tasks in the queue.
        priority: Priority;
        /// Which version of the code it runs on.
        versioning_override: VersioningOverride;
    }

    /// When it runs again: five fields of cron, or `@every 1h`, `@daily` and such.
    pub fn cron_schedule(mut self, cron_schedule: impl Into<String>) -> Self {
        self.cron_schedule = Some(cron_schedule.into());
        self
    }

    /// One line of Markdown about this workflow, for people.
    pub fn static_summary(mut self, summary: impl Into<String>) -> Self {
        self.static_summary = Some(summary.into());
        self
    }

    /// More Markdown about this workflow, for people.
    pub fn static_details(mut self, details: impl Into<String>) -> Self {
        self.static_details = Some(details.into());
        self
    }

    /// Asks for the first workflow task with the answer, when a worker of this process that
    /// serves the task queue has room for it: see
    /// [`Client::register_eager_worker`](crate::Client::register_eager_worker).
    pub fn request_eager_start(mut self, eager_start: bool) -> Self {
        self.eager_start = eager_start;
        self
    }

    /// The task queue.
    pub fn task_queue(&self) -> &str {
        &self.task_queue
    }

    /// All that starts, signals-with-start and schedules have in common.
    pub(super) fn to_wire(
        &self,
        converter: &Converter,
    ) -> Result<workflow::NewWorkflowExecutionInfo, CallError> {
        let memo = match &self.memo {
            Some(memo) => memo.to_wire(converter)?,
            None => None,
        };
        Ok(workflow::NewWorkflowExecutionInfo {
            workflow_id: self.workflow_id.clone(),
            workflow_type: None,
            task_queue: Some(TaskQueue {
                name: self.task_queue.clone(),
                kind: TaskQueueKind::Normal as i32,
                ..Default::default()
            }),
            input: None,
            workflow_execution_timeout: self.execution_timeout.map(to_wire),
            workflow_run_timeout: self.run_timeout.map(to_wire),
            workflow_task_timeout: self.task_timeout.map(to_wire),
            workflow_id_reuse_policy: self.id_reuse_policy.unwrap_or_default() as i32,
            retry_policy: self.retry_policy.as_ref().map(RetryPolicy::to_wire),
            cron_schedule: self.cron_schedule.clone().unwrap_or_default(),
            memo,
            search_attributes: self
                .search_attributes
                .as_ref()
                .and_then(SearchAttributes::to_wire),
            header: None,
            user_metadata: self.user_metadata(converter)?,
            versioning_override: self
                .versioning_override
                .as_ref()
                .map(VersioningOverride::to_wire),
            priority: self.priority.as_ref().map(Priority::to_wire),
        })
    }

    fn user_metadata(&self, converter: &Converter) -> Result<Option<UserMetadata>, CallError> {
        let payload = |text: &Option<String>| {
            let text = text.as_ref();
            text.map(|text| converter.to_payload(text)).transpose()
        };
        let summary = payload(&self.static_summary)?;
        let details = payload(&self.static_details)?;
        let some = summary.is_some() || details.is_some();
        Ok(some.then_some(UserMetadata { summary, details }))
    }
}
