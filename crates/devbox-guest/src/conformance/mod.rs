//! What every implementation of the contract is tested against: engines, HTTP over any transport, guarded servers.
//!
//! Each check is a function over a [`Ground`]: a guest and a fresh folder in it. It panics where the guest breaks its
//! contract. [`all`] runs them one by one and names those that failed; [`CHECKS`] lets a test crate do that itself.

mod archives;
mod batches;
mod conditions;
mod contents;
mod digests;
mod entries;
mod failures;
mod ground;
mod names;
mod operations;
mod patches;
mod processes;
mod scopes;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use devbox_types::operation::Operation;
use devbox_types::{BoxPath, Grant};
use futures_util::future::BoxFuture;

pub use ground::{Facts, Ground};

use crate::contract::Guest;

/// How long one check may take: a guest that hangs fails, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A check: it panics where the guest breaks its contract.
pub type Check = fn(Ground) -> BoxFuture<'static, ()>;

macro_rules! checks {
    ($($module:ident: $($check:ident),+;)+) => {
        /// Every check, by name, in the order in which they are best read.
        pub const CHECKS: &[(&str, Check)] = &[
            $($((concat!(stringify!($module), "::", stringify!($check)), |ground| Box::pin($module::$check(ground))),)+)+
        ];
    };
}

checks! {
    contents: any_size_comes_back, streams_of_chunks_come_back, a_replace_shows_the_new_bytes_only,
        ranges_are_honoured, a_range_outside_is_refused, a_head_has_no_content, mode_and_time_are_set,
        a_replace_keeps_the_mode, missing_parents_are_made_on_request, a_link_is_followed_or_replaced;
    conditions: a_known_version_is_not_sent_again, a_range_of_an_old_version_is_the_whole,
        absent_means_absent, a_stale_tag_changes_nothing, present_means_present,
        of_two_writers_with_one_tag_one_wins, of_many_creators_one_wins;
    digests: right_digests_are_accepted, each_wrong_digest_leaves_the_old_file, a_read_tells_the_digest_of_the_whole;
    failures: a_wrong_digest_leaves_the_old_file, a_right_digest_is_accepted, a_broken_body_leaves_the_old_file,
        a_short_body_is_interrupted, a_dropped_write_leaves_no_debris, a_directory_is_no_file,
        a_file_is_no_directory, what_is_missing_is_not_found, a_dangling_link_is_not_found, a_link_loop_is_told;
    names: every_name_works, every_name_works_in_a_batch, every_name_works_in_operations;
    entries: stat_tells_what_is_there, a_link_is_looked_at_or_through, pages_are_complete_and_in_order,
        a_deep_listing_holds_what_is_below, a_walk_finds_everything, a_listing_of_no_directory_fails;
    operations: directories_are_made, entries_are_moved, a_move_replaces_only_on_request, files_are_copied,
        trees_are_copied, modes_and_times_are_changed, entries_are_deleted, a_failing_operation_undoes_those_before;
    patches: bytes_are_written_where_they_belong, a_patch_that_breaks_off_tells_what_stands,
        appenders_keep_out_of_each_others_way, a_patch_keeps_its_condition, a_file_is_written_in_its_place,
        what_is_verified_is_stored, a_limit_counts_what_the_file_becomes, a_patch_of_no_file_is_refused,
        metadata_is_set_whole_or_not, small_files_and_links_are_made_in_a_list;
    batches: a_batch_is_written_whole, an_empty_batch_is_nothing, a_large_batch_is_written,
        a_failing_part_changes_nothing, a_wrong_digest_changes_nothing, an_impossible_target_changes_nothing,
        a_failed_condition_changes_nothing, a_cut_off_body_changes_nothing,
        a_repeat_with_its_key_is_answered_and_not_done, of_many_repeats_at_once_one_is_done;
    archives: a_tree_is_packed, a_missing_path_is_not_found, what_was_packed_is_unpacked,
        half_an_archive_changes_nothing, an_archive_with_its_key_is_unpacked_once;
    uploads: pieces_become_a_file, an_upload_of_nothing_is_complete_at_once, what_came_of_a_broken_piece_counts,
        a_piece_has_to_fit, a_piece_with_a_wrong_checksum_does_not_count,
        a_wrong_digest_of_the_whole_leaves_the_old_file, a_condition_is_kept_until_the_end,
        an_upload_can_be_given_up, attack_upload_of_somebody_else, an_impossible_target_is_refused_at_once,
        parts_become_a_file, large_parts_become_a_file, what_is_no_complete_part_is_not_joined,
        a_failed_join_leaves_the_parts, a_repeated_join_is_answered_and_not_done_again,
        attack_part_of_somebody_else, directories_of_an_upload_that_is_given_up_are_taken_back;
    scopes: without_a_right_nothing_happens, a_root_confines, a_link_out_of_the_root_escapes, a_byte_limit_is_kept;
    processes: the_guest_introduces_itself, output_comes_apart, exit_codes_and_signals_are_told,
        arguments_and_environment_arrive_exactly, the_working_directory_is_set, text_is_standard_input,
        input_and_output_stream_at_once, signals_are_delivered, time_runs_out, dropping_the_stream_kills,
        large_output_is_whole, what_runs_is_listed, what_cannot_run_is_refused, fifos_are_refused_at_once;
}

/// Runs every check in a folder of its own below `folder`, which has to be writable.
///
/// # Panics
/// At the end, if any failed, with their names; what each complained of is on standard error.
pub async fn all(guest: Arc<dyn Guest>, folder: BoxPath, facts: Facts) {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        if !run(Arc::clone(&guest), &folder, &facts, name, *check).await {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{} of {} checks failed: {failed:#?}", failed.len(), CHECKS.len());
}

/// Runs one check in a folder of its own below `folder`; whether it passed.
///
/// # Panics
/// If the folder cannot be made.
pub async fn run(guest: Arc<dyn Guest>, folder: &BoxPath, facts: &Facts, name: &str, check: Check) -> bool {
    let folder = folder.join(name.replace("::", "-").as_bytes()).expect("a name");
    let mkdir = Operation::Mkdir { path: folder.clone(), mode: None, parents: true };
    guest.apply(&Grant::whole_box(), vec![mkdir]).await.expect("the folder of a check is made");
    let ground = Ground::new(guest, folder, facts.clone());
    let checked = tokio::time::timeout(PATIENCE, tokio::spawn(check(ground))).await;
    matches!(checked, Ok(Ok(())))
}
