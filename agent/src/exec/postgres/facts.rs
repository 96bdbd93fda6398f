//! How a PostgreSQL is set up, as far as a failover needs it: what the role may, settings, slots, and who starts it.

use std::{collections::BTreeMap, time::Duration};

use super::{Postgres, RunBy, sql::Session, sql::SqlError};
use crate::exec::{Until, child::Run};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Why nobody could log in, and PostgreSQL's SQLSTATE if it said one.
    pub login: Option<(String, String)>,
    /// What the role has not and needs, as in a grant.
    pub missing_rights: Vec<String>,
    /// It is in recovery.
    pub in_recovery: bool,
    /// Settings by their names.
    pub settings: BTreeMap<String, String>,
    /// Physical slots.
    pub slots: Vec<String>,
    /// What starts it besides Holdfast, and the line that changes that.
    pub starts_by_itself: Option<(String, String)>,
    /// What could not be looked at beside it.
    pub problem: String,
}

/// What the role needs: as in a grant, and as a question.
const RIGHTS: [(&str, &str); 6] = [
    ("pg_monitor", "pg_has_role(current_user, 'pg_monitor', 'usage')"),
    (
        "execute on function pg_logical_emit_message(boolean, text, text)",
        "has_function_privilege('pg_logical_emit_message(boolean, text, text)', 'execute')",
    ),
    (
        "execute on function pg_promote(boolean, integer)",
        "has_function_privilege('pg_promote(boolean, integer)', 'execute')",
    ),
    ("execute on function pg_wal_replay_resume()", "has_function_privilege('pg_wal_replay_resume()', 'execute')"),
    ("execute on function pg_reload_conf()", "has_function_privilege('pg_reload_conf()', 'execute')"),
    ("alter system on parameter primary_conninfo", "has_parameter_privilege('primary_conninfo', 'alter system')"),
];

/// Settings that everybody may read.
const SETTINGS: [&str; 6] = [
    "data_checksums",
    "wal_log_hints",
    "wal_level",
    "max_wal_senders",
    "synchronous_standby_names",
    "max_slot_wal_keep_size",
];

impl Session {
    async fn facts(&self, until: Until) -> Result<Facts, SqlError> {
        const WHAT: &str = "look at how postgres is set up";
        let rights: Vec<&str> = RIGHTS.iter().map(|(_, asks)| *asks).collect();
        let settings: Vec<String> = SETTINGS.iter().map(|name| format!("current_setting('{name}')")).collect();
        let sql = format!(
            "select pg_is_in_recovery(), array[{}], array[{}], \
             array(select slot_name::text from pg_replication_slots where slot_type = 'physical' order by 1)",
            rights.join(", "),
            settings.join(", ")
        );
        let row = self.row(WHAT, &sql, &[], until).await?;
        let has: Vec<bool> = self.get(WHAT, &row, 1)?;
        let values: Vec<String> = self.get(WHAT, &row, 2)?;
        let missing = RIGHTS.iter().zip(has).filter(|(_, has)| !has).map(|((right, _), _)| (*right).to_owned());
        Ok(Facts {
            in_recovery: self.get(WHAT, &row, 0)?,
            missing_rights: missing.collect(),
            settings: SETTINGS.iter().map(|name| (*name).to_owned()).zip(values).collect(),
            slots: self.get(WHAT, &row, 3)?,
            ..Facts::default()
        })
    }
}

impl Postgres {
    /// Looks at how it is set up. What cannot be looked at is said in what comes back.
    pub async fn facts(&self, within: Duration) -> Facts {
        let until = Until::after(within);
        let by_sql = async {
            let session = Session::open(&self.login, until).await?;
            session.facts(until).await
        };
        let mut facts = match by_sql.await {
            Ok(facts) => facts,
            Err(error) => {
                let state = error.state().map(|state| state.code().to_owned()).unwrap_or_default();
                Facts { login: Some((holdfast_shared::error::Chain(&error).to_string(), state)), ..Facts::default() }
            }
        };
        match self.starts_by_itself(Until::after(within)).await {
            Ok(starts) => facts.starts_by_itself = starts,
            Err(why) => facts.problem = why,
        }
        facts
    }

    async fn starts_by_itself(&self, until: Until) -> Result<Option<(String, String)>, String> {
        match (&self.run_by, &self.container) {
            (RunBy::Systemd { unit }, _) => {
                let show =
                    Run::new("systemctl").arg("show").arg("--property=UnitFileState,ExecCondition").arg("--").arg(unit);
                let shown = show.until(until).await.map_err(|e| holdfast_shared::error::Chain(&e).to_string())?;
                Ok(starts_unasked(&String::from_utf8_lossy(&shown.stdout)).map(|state| {
                    (
                        format!("unit {unit} is {state}, and systemd asks for no lease"),
                        "holdfast-helper units".to_owned(),
                    )
                }))
            }
            (RunBy::Container { name }, Some(container)) => {
                let policy =
                    container.restart_policy(until).await.map_err(|e| holdfast_shared::error::Chain(&e).to_string())?;
                let starts = policy.filter(|policy| !policy.is_empty() && policy != "no");
                Ok(starts.map(|policy| {
                    (
                        format!("container {name} has the restart policy {policy}"),
                        format!("docker update --restart no {name}"),
                    )
                }))
            }
            (RunBy::Container { .. }, None) | (RunBy::PgCtl { .. }, _) => Ok(None),
        }
    }
}

/// The state of a unit that systemd starts at boot without asking for a lease, as `systemctl show` tells.
fn starts_unasked(shown: &str) -> Option<String> {
    let value = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    let state = value("UnitFileState=");
    // "generated", "static" and "disabled" start nothing at boot by themselves.
    let starts = matches!(state, "enabled" | "enabled-runtime" | "alias");
    (starts && !value("ExecCondition=").contains(" may-start ")).then(|| state.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_asks_for_a_lease_does_not_start_by_itself() {
        let asks = "ExecCondition={ path=/usr/bin/holdfast-helper ; argv[]=/usr/bin/holdfast-helper may-start pg.service ; \
                    ignore_errors=no }";
        assert_eq!(starts_unasked("UnitFileState=enabled\nExecCondition=\n").as_deref(), Some("enabled"));
        assert_eq!(starts_unasked("UnitFileState=enabled\n").as_deref(), Some("enabled"));
        assert_eq!(starts_unasked(&format!("UnitFileState=enabled\n{asks}\n")), None);
        assert_eq!(starts_unasked("UnitFileState=disabled\n"), None);
        assert_eq!(starts_unasked(""), None);
    }
}
