"""Which test holds which promise made to users of TAO's 2D Grounding pipelines, row by row; and the specification's
documented defaults.

A row names what a user of TAO brings or relies on, or what the original does wrong, and the tests that would fail with
the original's behaviour.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from raylabel.settings import GroundingPipeline, ReferringPipeline

TESTS = Path(__file__).parent

COMMAND_LINE = {
    "auto_label generate -e spec.yaml key=value": (
        "test_cli.py::test_the_generate_line_of_tao_works_word_for_word",
        "end_to_end/test_runs.py::test_the_second_step_grounds_what_tao_extracted",
        "test_packaging.py::test_a_console_script_exists",
    ),
    "auto_label default_specs results_dir=... module_name=auto_label": (
        "test_cli.py::test_the_default_specs_line_of_tao_works_word_for_word_and_its_file_runs",
    ),
    "-e and --experiment_spec_file": ("test_cli.py::test_run_and_generate_hand_the_merged_settings_to_the_engine",),
    "python -m raylabel run config.yaml": (
        "test_cli.py::test_python_m_raylabel_is_the_same_program",
        "test_cli.py::test_run_and_generate_hand_the_merged_settings_to_the_engine",
    ),
    "defaults < file < overrides": (
        "settings/test_precedence.py::test_overrides_win_over_the_file_and_the_file_over_defaults",
        "settings/test_precedence.py::test_of_two_overrides_of_one_key_the_later_wins",
    ),
}

SPECIFICATION = {
    "the documented keys with their defaults": (
        "test_tao_rows.py::test_the_documented_specification_is_the_default_one",
    ),
    "output_format: jsonl by default, in the generated specification too; media resolution high everywhere": (
        "test_tao_rows.py::test_the_documented_specification_is_the_default_one",
        "settings/test_default_specification.py::test_the_default_specification_holds_every_setting_with_its_comment",
    ),
    "LOW, MEDIUM and HIGH": ("settings/test_precedence.py::test_media_resolution_has_a_short_and_a_long_spelling",),
    "an empty api_key reads the environment; a hosted endpoint may need none; EMPTY is accepted": (
        "clients/test_endpoints.py::test_each_endpoint_gets_its_own_key",
        "clients/test_openai_errors.py::test_nothing_of_the_environment_reaches_another_host",
        "test_cli.py::test_a_key_in_the_environment_is_enough",
    ),
    "base_url without /chat/completions": (
        "clients/test_openai_compat.py::test_the_body_holds_preamble_picture_question_in_this_order",
        "settings/test_mistakes.py::test_a_mistake_is_one_sentence_with_key_value_and_what_is_allowed",
    ),
    "max_workers is the number of requests in flight of a step, over the whole cluster": (
        "end_to_end/test_on_ray.py::test_two_workers_share_the_limit_and_give_the_files_that_one_gives_without_ray",
        "runtime/test_coordinator.py::test_requests_in_flight_never_exceed_a_limit_whatever_the_order_of_beats",
    ),
    "force_reprocess": (
        "end_to_end/test_runs.py::test_force_reprocess_asks_everything_again_once",
        "store/test_generations.py::test_a_finished_generation_is_followed_by_a_new_one_only_with_force",
    ),
    "empty values mean not set": (
        "settings/test_precedence.py::test_empty_and_null_values_in_a_file_mean_not_set",
        "settings/test_precedence.py::test_values_of_text_settings_on_the_command_line",
    ),
    "image_dir and kitti_label_dir are optional beside input_annotations_jsonl": (
        "settings/test_needs.py::test_the_referring_pipeline_takes_each_form_of_input",
        "settings/test_needs.py::test_the_referring_pipeline_says_which_input_is_missing",
    ),
    "keys of other tasks in a generated specification are ignored with one warning": (
        "settings/test_needs.py::test_keys_of_other_tasks_in_a_tao_specification_are_ignored_with_one_warning",
    ),
    "steps by number or by name": ("settings/test_precedence.py::test_steps_are_named_by_number_or_name",),
    "only the block that autolabel_type names needs its required fields": (
        "settings/test_needs.py::test_only_the_named_block_needs_its_required_values_and_files",
    ),
    "a wrong key, type or value is an error with the nearest valid one, before anything starts": (
        "settings/test_mistakes.py::test_a_mistake_is_one_sentence_with_key_value_and_what_is_allowed",
        "test_cli.py::test_a_mistake_is_one_sentence_and_exit_code_2",
        "test_cli.py::test_neither_ray_nor_a_vendor_sdk_is_imported_for_a_mistake_in_the_specification",
    ),
}

INPUTS = {
    "image_path: absolute, relative to image_root, or a URI": (
        "sources/test_jsonl_sources.py::test_image_root_is_put_before_relative_paths",
        "storage/test_reading.py::test_an_object_store_is_read_through_its_uri",
    ),
    "caption and image_path are required": (
        "sources/test_jsonl_sources.py::test_a_line_no_record_can_be_made_of_keeps_its_number_and_reason",
        "sources/test_jsonl_sources.py::test_grounding_needs_a_caption_or_expressions",
    ),
    "image_id is derived from the file name where it is missing, and kept verbatim where it is not": (
        "sources/test_jsonl_sources.py::test_image_id_is_kept_verbatim",
    ),
    "width and height come from the image, whatever the line says": (
        "end_to_end/test_real_photographs.py::test_every_photograph_is_settled_with_its_real_size",
        "end_to_end/test_runs.py::test_the_second_step_grounds_what_tao_extracted",
        "exports/test_annotation_lines.py::test_unknown_fields_are_carried_through_and_never_overwrite_known_ones",
    ),
    "anything else is carried through": (
        "sources/test_jsonl_sources.py::test_a_line_becomes_a_record_with_its_unknown_fields",
        "exports/test_annotation_lines.py::test_unknown_fields_are_carried_through_and_never_overwrite_known_ones",
    ),
    "several lines may name one image": (
        "sources/test_jsonl_sources.py::test_equal_images_equal_ids_and_equal_lines_are_records_of_their_own",
        "end_to_end/test_runs.py::test_lines_that_share_an_id_an_image_or_everything_stay_records_of_their_own",
    ),
    ".jpg, .jpeg and .png in any case, sub-folders included": (
        "sources/test_kitti_sources.py::test_sub_folders_and_suffixes_make_distinct_records",
    ),
    "KITTI lines: fields 0 and 4-7; shorter lines are skipped and counted; DontCare is no object": (
        "sources/test_kitti_rows.py::test_the_type_may_have_blanks_or_stand_in_quotes",
        "sources/test_kitti_rows.py::test_rows_that_do_not_fit_say_why_and_never_shift",
        "sources/test_kitti_rows.py::test_dontcare_in_whatever_form_is_no_object_and_no_loss",
    ),
    "where no image finds a label file the run does not start": (
        "sources/test_kitti_sources.py::test_labels_in_another_folder_stop_the_run_with_an_example",
    ),
    "input_annotations_jsonl, seed_annotations.jsonl and earlier annotations are one format": (
        "sources/test_referring_sources.py::test_seed_annotations_are_read_as_documented",
        "sources/test_referring_sources.py::test_a_seed_line_and_a_public_line_lead_back_to_their_record",
        "exports/test_annotation_lines.py::test_the_seed_line_is_what_the_referring_pipeline_takes_as_input",
        "end_to_end/test_runs.py::test_results_of_an_earlier_run_are_the_input_of_another",
    ),
}

STEPS = {
    "names, numbers, directories and fields of the six steps": (
        "test_pipelines.py::test_the_steps_are_those_of_tao_under_its_names",
    ),
    "expression_extraction: cleaned_caption and expressions with empty instances": (
        "steps/test_expression_extraction.py::test_expressions_are_not_grounded_yet_and_have_ids_of_their_own",
        "exports/test_annotation_lines.py::test_extracted_and_not_yet_grounded_expressions_have_empty_instances_and_no_outcome",
    ),
    "grounding: instances with bbox, score and bbox_id": (
        "steps/test_grounding.py::test_a_phrase_in_the_plural_has_several_boxes_with_ids_of_their_own",
    ),
    "region_expr: one region a seed box": (
        "steps/test_region_expr.py::test_there_is_one_region_a_seed_box_in_their_order",
    ),
    "image_caption: whole image, no place names": (
        "steps/test_image_caption.py::test_the_question_forbids_place_names_and_has_a_schema",
    ),
    "grounding_expr: groups of regions under one phrase": (
        "steps/test_grounding_expr.py::test_a_group_holds_every_region_its_phrase_fits_and_a_region_stands_in_several",
    ),
    "double_check: kept, removed or tightened, verified set": (
        "steps/test_double_check.py::test_what_is_confirmed_is_verified_expression_by_expression_and_box_by_box",
        "steps/test_double_check.py::test_adjust_decides_what_happens_to_a_box_that_should_move",
    ),
    "any subset is legal when its inputs exist": (
        "end_to_end/test_runs.py::test_referring_steps_may_run_in_two_goes",
        "end_to_end/test_runs.py::test_the_second_step_alone_takes_phrases_edited_by_hand",
        "end_to_end/test_runs.py::test_a_step_whose_input_nobody_made_says_which_step_to_run",
        "runtime/test_rows.py::test_an_open_step_bars_the_steps_that_need_it_and_no_others",
    ),
    "steps 0 and 1 of the referring pipeline do not depend on each other": (
        "test_pipelines.py::test_independent_steps_share_a_level",
    ),
    "step 2 works without step 1": ("end_to_end/test_runs.py::test_grouping_works_without_a_caption",),
}

OUTPUT = {
    "the keys of a line, in both pipelines": (
        "exports/test_annotation_lines.py::test_a_finished_grounding_line_has_the_documented_keys_and_values",
        "exports/test_annotation_lines.py::test_a_finished_referring_line_has_the_same_keys_for_the_same_things",
    ),
    "bbox: pixels of the image as displayed, inside it, whole numbers": (
        "exports/test_annotation_lines.py::test_boxes_are_whole_pixels_of_the_displayed_image_not_of_the_picture_sent",
        "end_to_end/test_real_photographs.py::test_a_photograph_turned_in_its_file_gets_the_boxes_of_the_upright_one",
        "end_to_end/test_real_photographs.py::test_boxes_found_in_smaller_pictures_are_those_of_the_whole_photograph",
    ),
    "an overshoot of 1 % is clipped and flagged, more is a violation": (
        "steps/test_grounding.py::test_an_overshoot_of_one_percent_is_clipped_and_flagged",
        "steps/test_grounding.py::test_more_than_one_percent_or_no_area_is_never_accepted_and_only_this_phrase_is_asked_again",
        "steps/test_double_check.py::test_an_impossible_adjustment_is_flagged_and_moves_nothing",
    ),
    "input boxes are pixels of the image as displayed": (
        "steps/test_region_expr.py::test_seed_boxes_are_written_as_the_model_writes_them",
        "end_to_end/test_real_photographs.py::test_the_model_is_asked_about_the_objects_on_its_own_grid",
    ),
    "char_span: cleaned_caption[a:b] == text, or null and flagged": (
        "steps/test_expression_extraction.py::test_char_span_is_where_the_phrase_really_stands_or_null_and_flagged",
        "answers/test_expression_answers.py::test_a_span_always_holds_its_phrase",
        "sources/test_jsonl_sources.py::test_spans_of_earlier_files_are_checked",
    ),
    "score: in [0, 1] or null; bbox_score is accepted": (
        "steps/test_grounding.py::test_scores_are_the_models_or_null",
        "exports/test_annotation_lines.py::test_a_score_the_model_did_not_give_is_null",
        "test_records.py::test_a_score_is_read_under_both_names_and_never_invented",
    ),
    "image_path opens from where the run was started": (
        "sources/test_jsonl_sources.py::test_image_root_is_put_before_relative_paths",
        "sources/test_source_choice.py::test_step_1_alone_reads_what_step_0_left_and_joins_no_root",
    ),
    "ids are unique and do not depend on order, timing, workers or resuming": (
        "end_to_end/test_resume.py::test_one_worker_and_sixty_four_give_the_same_file",
        "end_to_end/test_resume.py::test_a_run_killed_at_a_random_point_and_started_again_gives_the_same_file",
        "test_records.py::test_ids_of_equal_phrases_differ_and_do_not_depend_on_their_neighbours",
        "test_records.py::test_a_line_has_the_same_id_wherever_and_whenever_it_is_read",
    ),
    "unfinished fields are absent; each record carries the outcome of its steps": (
        "exports/test_annotation_lines.py::test_unfinished_fields_are_absent_and_the_outcome_says_why",
        "end_to_end/test_runs.py::test_bad_images_and_bad_lines_are_told_and_the_others_are_labeled",
    ),
    "extracted and not yet grounded is told from grounded and nothing there": (
        "test_records.py::test_an_expression_not_yet_grounded_is_told_from_one_that_nothing_matches",
        "steps/test_grounding.py::test_an_empty_instances_list_means_that_the_model_said_so",
    ),
    "regions[].bbox_2d is accepted and not written": (
        "test_records.py::test_a_region_is_read_under_both_names_of_its_box",
        "sources/test_referring_sources.py::test_regions_on_taos_grid_become_the_exact_seeds",
        "exports/test_annotation_lines.py::test_a_finished_referring_line_has_the_same_keys_for_the_same_things",
    ),
    "verified: true, false or null": (
        "steps/test_double_check.py::test_silence_deletes_nothing_and_confirms_nothing",
        "steps/test_double_check.py::test_rejected_items_are_kept_as_false_on_request",
        "exports/test_annotation_lines.py::test_what_a_check_rejected_says_so",
    ),
    "annotations.jsonl in input order; a file for each step; seed_annotations.jsonl; checkpoints beside them": (
        "end_to_end/test_flow_and_formats.py::test_every_format_writes_the_json_lines_and_legacy_ones_the_text_files_too",
        "end_to_end/test_runs.py::test_lines_that_share_an_id_an_image_or_everything_stay_records_of_their_own",
        "store/test_results.py::test_checkpoints_stand_beside_the_files_people_read",
    ),
}

LEGACY = {
    ".step0: a JSON array of four keys, indent 2, non-ASCII kept, no last newline, [] without regions": (
        "exports/test_legacy_text.py::test_step0_is_a_json_array_with_four_keys_and_no_last_newline",
    ),
    ".step1: the caption and nothing else": ("exports/test_legacy_text.py::test_step1_is_the_caption_alone",),
    ".step2 and .step3: a line an expression that has boxes; an empty phrase is object": (
        "exports/test_legacy_text.py::test_expressions_are_lines_of_phrase_and_boxes",
    ),
    "boxes on the 0-1000 grid, rounded down": (
        "exports/test_legacy_text.py::test_grid_numbers_come_from_exact_boxes",
        "test_geometry.py::test_the_legacy_grid_rounds_down",
    ),
    "legacy writes the JSONL files as well": (
        "end_to_end/test_flow_and_formats.py::test_every_format_writes_the_json_lines_and_legacy_ones_the_text_files_too",
    ),
    "label files mirror the sub-folders of image_dir": (
        "exports/test_legacy_text.py::test_a_plain_id_names_its_file_and_mirrors_its_folders",
        "end_to_end/test_runs.py::test_legacy_files_stand_beside_the_json_lines_and_equal_stems_do_not_collide",
    ),
}

WRONG_LABELS = {
    "boxes of the referring pipeline stay on the 0-1000 grid": (
        "steps/test_double_check.py::test_boxes_are_asked_and_read_in_the_models_convention",
        "sources/test_referring_sources.py::test_regions_on_taos_grid_become_the_exact_seeds",
        "end_to_end/test_real_photographs.py::test_the_objects_of_a_label_file_stay_as_written",
    ),
    "missing sizes become 1920x1080, a 4K box comes out inverted": (
        "steps/test_grounding.py::test_boxes_are_pixels_of_the_displayed_image",
        "exports/test_annotation_lines.py::test_a_record_whose_image_could_not_be_opened_has_no_invented_size",
    ),
    "the prompt asks for pixels, whatever convention the model was trained on": (
        "steps/test_grounding.py::test_boxes_are_pixels_of_the_displayed_image",
        "test_profiles.py::test_boxes_are_written_and_read_as_the_owner_of_the_family_says",
    ),
    "records with the same file stem overwrite each other": (
        "end_to_end/test_runs.py::test_legacy_files_stand_beside_the_json_lines_and_equal_stems_do_not_collide",
        "test_records.py::test_lines_that_differ_in_anything_are_different_records",
        "exports/test_legacy_text.py::test_different_ids_never_share_a_file",
    ),
    "a missing or corrupt image turns into a text-only request": (
        "end_to_end/test_runs.py::test_bad_images_and_bad_lines_are_told_and_the_others_are_labeled",
        "runtime/test_asking_trouble.py::test_an_image_that_is_gone_fails_the_record_and_asks_nothing",
        "images/test_pictures.py::test_a_truncated_image_is_never_sent",
    ),
    "char_span is never checked": (
        "steps/test_expression_extraction.py::test_char_span_is_where_the_phrase_really_stands_or_null_and_flagged",
    ),
    "All boxes are correct. erases every label": (
        "steps/test_double_check.py::test_an_answer_without_verdicts_erases_no_label",
        "answers/test_box_answers.py::test_a_reply_without_verdicts_is_unreadable_and_drops_nothing",
    ),
    "a changed capital letter drops a phrase": (
        "steps/test_double_check.py::test_a_phrase_in_another_case_changes_and_drops_nothing",
    ),
    "two groups with the same phrase swap boxes": (
        "steps/test_double_check.py::test_two_expressions_of_one_phrase_keep_their_own_boxes",
        "steps/test_grounding_expr.py::test_two_groups_under_one_phrase_are_merged_in_one_answer_and_over_several",
    ),
    "boxes added against the rules are accepted": (
        "steps/test_double_check.py::test_boxes_and_expressions_added_against_the_rules_are_left_out",
    ),
    "a phrase containing a colon is dropped": (
        "steps/test_grounding.py::test_a_phrase_with_a_colon_keeps_its_boxes",
        "steps/test_grounding_expr.py::test_a_phrase_with_a_colon_is_a_phrase",
        "exports/test_legacy_text.py::test_expressions_are_lines_of_phrase_and_boxes",
    ),
    "a key that differs in case or numbering gives zero boxes": (
        "steps/test_grounding.py::test_labels_in_another_case_or_dress_are_the_phrase",
        "steps/test_grounding.py::test_numbered_keys_are_the_phrase",
        "steps/test_grounding.py::test_what_matches_no_phrase_or_two_is_asked_again_never_guessed",
    ),
    "scores are invented": ("steps/test_grounding.py::test_scores_are_the_models_or_null",),
    "DontCare is treated as an object": (
        "sources/test_kitti_rows.py::test_dontcare_in_whatever_form_is_no_object_and_no_loss",
        "sources/test_referring_sources.py::test_seed_boxes_that_are_none_are_counted_and_dontcare_is_no_object",
    ),
}

SILENT_LOSS = {
    "a failed or unreadable call is written as an empty result and never tried again": (
        "runtime/test_asking_unreadable.py::test_what_is_still_open_is_asked_again_by_the_next_run_which_counts_on",
        "steps/test_grounding.py::test_a_phrase_that_is_never_answered_leaves_the_record_open_and_is_never_empty",
        "exports/test_legacy_text.py::test_only_a_settled_step_has_a_file",
    ),
    "100 % failures end as success": (
        "runtime/test_coordinator.py::test_a_run_gone_bad_stops_with_a_sentence_and_its_files",
        "runtime/test_asking.py::test_a_server_that_never_answers_ends_the_run_and_not_every_record",
        "end_to_end/test_runs.py::test_a_step_whose_input_nobody_made_says_which_step_to_run",
    ),
    "running steps 2,3 after 0,1 overwrites the final file with nothing": (
        "end_to_end/test_runs.py::test_referring_steps_may_run_in_two_goes",
    ),
    "new inputs are ignored once an output file exists": (
        "end_to_end/test_runs.py::test_a_pilot_is_part_of_the_whole_run",
        "end_to_end/test_runs.py::test_lines_that_share_an_id_an_image_or_everything_stay_records_of_their_own",
        "runtime/test_rows.py::test_an_edited_input_makes_its_rows_stale",
    ),
    "ids collide after a resume": (
        "end_to_end/test_resume.py::test_a_run_killed_at_a_random_point_and_started_again_gives_the_same_file",
        "test_records.py::test_lines_that_differ_in_anything_are_different_records",
    ),
    "unparsable input lines vanish uncounted": (
        "sources/test_jsonl_sources.py::test_a_line_no_record_can_be_made_of_keeps_its_number_and_reason",
        "end_to_end/test_runs.py::test_bad_images_and_bad_lines_are_told_and_the_others_are_labeled",
    ),
    "a null score or a list-shaped answer loses paid answers": (
        "answers/test_box_answers.py::test_statements_are_matched_to_phrases",
        "steps/test_grounding.py::test_scores_are_the_models_or_null",
        "runtime/test_asking_trouble.py::test_what_was_paid_for_beside_a_failure_is_stored",
    ),
}

CLIENTS = {
    "the Gemini timeout is never applied": (
        "clients/test_gemini.py::test_a_server_that_never_answers_is_a_time_out",
        "clients/test_gemini.py::test_the_time_out_holds_for_the_whole_answer_not_for_each_byte",
    ),
    "the media resolution of images is never applied": (
        "clients/test_gemini.py::test_the_body_holds_preamble_picture_question_and_the_media_resolution",
    ),
    "every error is retried alike, including a wrong key": (
        "clients/test_openai_errors.py::test_error_answers_are_verdicts",
        "clients/test_gemini.py::test_error_answers_are_verdicts",
        "clients/test_retry.py::test_hopeless_errors_are_raised_at_once",
        "runtime/test_asking.py::test_an_error_that_no_request_can_survive_stops_the_run_at_once",
    ),
    "Retry-After is ignored": (
        "clients/test_openai_errors.py::test_retry_after_is_read_as_seconds_or_date",
        "clients/test_retry.py::test_retry_after_is_honoured_beyond_the_upper_bound",
    ),
    "finish_reason is ignored": (
        "clients/test_gemini.py::test_finish_reasons_are_told_apart",
        "clients/test_openai_compat.py::test_what_a_message_says_is_told_apart",
        "runtime/test_asking_unreadable.py::test_a_reply_cut_off_by_the_token_limit_gets_more_room_and_is_never_taken_as_whole",
    ),
    "token usage is ignored": (
        "clients/test_openai_compat.py::test_a_reply_carries_text_finish_usage_model_and_latency",
        "clients/test_gemini.py::test_a_reply_carries_text_finish_usage_model_and_latency",
        "store/test_results.py::test_a_reply_comes_back_from_the_store_as_it_was",
    ),
    "one process": ("end_to_end/test_cluster_jobs.py::test_both_nodes_of_a_cluster_work_on_a_submitted_job",),
    "a barrier between steps": (
        "end_to_end/test_flow_and_formats.py::test_a_record_is_grounded_while_its_neighbours_are_still_extracted",
    ),
    "all records in memory": (
        "sources/test_jsonl_sources.py::test_a_scan_of_many_lines_does_not_hold_them",
        "sources/test_jsonl_sources.py::test_the_first_shards_come_before_the_rest_was_read",
    ),
}

ROWS = {
    f"{section}: {row}": tests
    for section, rows in {
        "command line": COMMAND_LINE,
        "specification": SPECIFICATION,
        "inputs": INPUTS,
        "steps": STEPS,
        "output": OUTPUT,
        "legacy": LEGACY,
        "wrong labels": WRONG_LABELS,
        "silent loss": SILENT_LOSS,
        "clients": CLIENTS,
    }.items()
    for row, tests in rows.items()
}


@lru_cache
def names_in(path: Path) -> set[str]:
    """Names of the test functions a file defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions) and node.name.startswith("test_")}


@pytest.mark.parametrize(("row", "tests"), ROWS.items(), ids=list(ROWS))
def test_every_row_is_held_by_tests_that_exist(row: str, tests: tuple[str, ...]) -> None:
    assert tests, f"nothing holds: {row}"
    for test in tests:
        file, _, name = test.partition("::")
        assert (TESTS / file).is_file(), f"{row}: no file {file}"
        assert name in names_in(TESTS / file), f"{row}: no test {name} in {file}"


# --- the documented specification -----------------------------------------------------------------------------------

VLM = """
backend: gemini
gemini:
  api_key: ""
  model: gemini-3.1-flash-lite-preview
  media_resolution: MEDIA_RESOLUTION_HIGH
  temperature: 0.3
  max_output_tokens: 8192
  timeout: 120
openai:
  api_key: ""
  base_url: ""
  model_name: ""
  temperature: 0.7
  max_tokens: 4096
  timeout: 60
"""

DOCUMENTED = [
    (
        GroundingPipeline,
        """
workflow: {steps: [expression_extraction, grounding], max_workers: 4, force_reprocess: false}
data: {input_jsonl: "", image_root: ""}
""",
    ),
    (
        ReferringPipeline,
        """
workflow:
  steps: [region_expr, image_caption, grounding_expr, double_check]
  max_workers: 4
  force_reprocess: false
  output_format: jsonl
data: {image_dir: "", kitti_label_dir: "", input_annotations_jsonl: ""}
""",
    ),
]


@pytest.mark.parametrize(("block", "text"), DOCUMENTED, ids=["image_grounding", "image_referring_expression"])
def test_the_documented_specification_is_the_default_one(block: type[Any], text: str) -> None:
    def check(documented: dict[str, Any], found: dict[str, Any], where: str) -> None:
        for key, value in documented.items():
            assert key in found, f"{where}.{key} is not a setting"
            if isinstance(value, dict):
                check(value, found[key], f"{where}.{key}")
            else:
                assert found[key] == value, f"{where}.{key}"

    documented = yaml.safe_load(text) | {"vlm": yaml.safe_load(VLM)}
    check(documented, block().model_dump(), block.__name__)
