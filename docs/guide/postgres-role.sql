-- The role Holdfast logs in as, with the least it needs on PostgreSQL 15 or newer.
--
-- Run it once on the primary, as a superuser, in the database that the app spec names under `login`
-- (standbys receive it by replication):
--
--     psql -X -v ON_ERROR_STOP=1 -d postgres -f postgres-role.sql
--
-- It can be run again at any time. The role has no password and no rights on your data. Let it in by pg_hba.conf,
-- for example over the Unix socket (`local postgres holdfast peer map=holdfast`) or with a password.

do $$
begin
    if not exists (select from pg_roles where rolname = 'holdfast') then
        create role holdfast login;
    end if;
end
$$;

alter role holdfast login nosuperuser nocreatedb nocreaterole noreplication nobypassrls;

do $$
begin
    execute format('grant connect on database %I to holdfast', current_database());
end
$$;

-- See: positions, receivers, senders, settings.
grant pg_monitor to holdfast;

-- Prove that a write commits, with a record of a few bytes that belongs to no table.
grant execute on function pg_logical_emit_message(boolean, text, text) to holdfast;

-- Promote a standby.
grant execute on function pg_promote(boolean, integer) to holdfast;

-- Ask whether a promotion is under way (PostgreSQL refuses this one then), before leaving a standby running.
grant execute on function pg_wal_replay_resume() to holdfast;

-- Cut a standby from its primary before it is promoted, and connect it again.
grant alter system on parameter primary_conninfo to holdfast;
grant execute on function pg_reload_conf() to holdfast;
