//! The list of all contract tests of a store.

/// Makes a `#[test]` of every store contract. The argument is an expression that makes a new
/// [`TestBackend`](crate::contract::TestBackend) when called.
#[macro_export]
macro_rules! store_contract {
    ($backend:expr) => {
        $crate::contract_tests! { $backend;
            user_store::{
                insert_refuses_a_taken_name_in_any_case,
                insert_lets_exactly_one_racer_win,
                finds_what_was_inserted,
                finds_nothing_where_nothing_is,
                imported_names_live,
                upgrade_hash_does_not_change_the_credential_version,
                rehash_never_undoes_a_password_change,
                upgrade_hash_racing_set_password_leaves_the_new_password,
                change_password_leaves_the_new_session_alone,
                change_password_after_a_change_is_refused,
                change_password_from_no_live_session_is_refused,
                change_password_to_an_invalid_session_is_refused,
                change_password_lets_exactly_one_racer_win,
                change_password_racing_open_leaves_the_new_session_alone,
                change_password_racing_disable_leaves_no_live_session,
                set_password_ends_the_sessions,
                disable_ends_the_sessions,
                enable_revives_no_session,
                delete_ends_the_sessions,
                delete_frees_the_name,
                delete_after_a_change_is_refused,
                delete_from_no_live_session_is_refused,
                delete_is_acknowledged_once,
                changing_an_unknown_user_changes_nothing,
            }
            session_store::{
                open_records_its_event,
                open_after_disable_is_refused,
                open_after_a_password_change_is_refused,
                open_for_an_unknown_user_is_refused,
                open_racing_disable_leaves_no_live_session,
                open_racing_set_password_leaves_no_live_session,
                open_racing_delete_leaves_no_live_session,
                open_ends_the_oldest_beyond_the_bound,
                open_counts_live_sessions_alone,
                open_keeps_the_bound_when_callers_race,
                rotate_racing_end_leaves_nothing_live,
                rotate_racing_disable_leaves_nothing_live,
                rotate_racing_change_password_leaves_nothing_live,
                rotate_racing_invalidate_leaves_nothing_live,
                rotate_follows_the_stored_session,
                rotate_returns_one_generation_to_many_callers,
                rotate_ends_the_session_on_a_reused_token,
                rotate_reports_one_theft_once,
                rotate_changes_nothing_where_no_session_lives,
                rotate_extends_the_session_up_to_its_absolute_end,
                end_is_acknowledged_once,
                end_ends_expired_sessions_too,
                end_is_only_for_the_owner,
                end_all_ends_the_live_sessions_of_one_user,
                end_all_spares_the_excepted_session,
                end_again_ends_only_live_sessions,
                end_again_raises_valid_from,
                live_ends_to_the_microsecond,
                find_returns_the_session_as_stored,
                list_returns_live_sessions_latest_first,
                an_end_that_commits_late_is_in_the_next_changes,
                changes_continue_from_the_cursor,
                changes_after_a_foreign_cursor_are_loaded_by_time,
                changes_list_ends_but_no_expiries,
                changes_list_at_most_the_requested_number,
                changes_do_not_wait_for_other_callers,
                invalidate_ends_earlier_sessions,
                invalidate_sets_the_next_whole_second,
                invalidate_ends_sessions_opened_by_clocks_ahead,
                open_of_invalid_session_is_refused,
            }
            purge::{
                purge_deletes_only_sessions_over_before,
                purge_deletes_sessions_invalidated_before,
                purge_walks_to_the_end_and_restarts,
                purge_is_done_by_one_instance_at_a_time,
                purge_lets_exactly_one_racer_step,
                purge_raises_the_high_water_mark,
            }
            attempt_store::{
                begin_follows_the_schedule,
                begin_counts_each_counter_separately,
                begin_grants_free_attempts_by_any_clock,
                begin_restarts_after_a_day,
                begin_grants_free_attempts_when_callers_race,
                begin_grants_one_of_many_after_a_wait,
                begin_changes_nothing_if_it_refuses,
                begin_records_its_event_with_one_attempt,
                open_session_consumes_its_proof,
                open_session_that_is_refused_consumes_nothing,
                open_makes_the_network_known,
                open_racing_begin_loses_no_attempt,
                change_password_consumes_its_proof,
                change_password_that_is_refused_consumes_nothing,
                delete_user_consumes_its_proof,
                delete_user_that_is_refused_consumes_nothing,
                a_counter_is_consumed_once_when_logins_race,
                purge_deletes_only_counters_that_are_over,
                purge_deletes_at_most_the_requested_number,
                purge_counters_records_the_events_of_the_deleted,
                purge_racing_begin_loses_no_attempt,
            }
            audit_log::{
                record_keeps_everything,
                record_keeps_the_longest_and_the_least,
                list_events_returns_only_own_events,
                a_change_whose_event_cannot_be_stored_does_not_happen,
            }
            store_health::{
                a_fresh_store_is_migrated,
                a_check_of_changes_leaves_nothing_behind,
                a_refused_call_does_not_count_against_the_store,
                returned_changes_are_not_under_way,
            }
        }
    };
}

/// The loop behind [`store_contract!`](crate::store_contract).
#[doc(hidden)]
#[macro_export]
macro_rules! contract_tests {
    ($backend:expr; $($port:ident::{ $($name:ident),+ $(,)? })+) => {$(
        mod $port {
            use super::*;

            $(
                #[test]
                fn $name() {
                    let make = $backend;
                    $crate::contract::$port::$name(&$crate::contract::TestedStore::of(make()));
                }
            )+
        }
    )+};
}
