"""For every command of the documentation: the test that runs it, or what it needs that no test has.

A key is the beginning of a command; the longest that fits speaks for it. ``RUN`` is run by test_docs.py as it stands.
"""
# ruff: noqa: E501  # names of tests

RUN = ("make help", "medimg params", "medimg cache", "python -m medimg.reference", "python -m medimg.reference errors")

BY = {
    "cluster/certificates.sh": "test_cluster_files.py::test_certificates_are_signed_by_one_authority_and_their_owners_alone",
    "cluster/start.sh": "test_submit.py::test_only_who_has_the_token_is_let_in_and_tls_is_checked",
    "dvc add": "test_contact.py::test_it_takes_the_table_beside_the_images_and_writes_what_it_chose_and_why",
    "dvc config cache.type": "test_doctor.py::test_a_damaged_cache_and_a_remote_that_is_gone_are_told",
    "dvc dag": "test_dag.py::test_dvcs_own_commands_work",
    "dvc exp run": "test_dag.py::test_a_parameter_can_be_tried_as_an_experiment",
    "dvc exp run --queue": "test_tune.py::test_dvc_runs_a_queue_of_experiments",
    "dvc exp run --run-all": "test_tune.py::test_dvc_runs_a_queue_of_experiments",
    "dvc exp run -S model.name=efficientnet-lite0": "models/test_transfer.py::test_the_imagenet_weights_are_loaded_right",
    "dvc exp run -S model.weights": "training/test_launch.py::test_transfer_starts_from_the_weights_of_an_earlier_run",
    "dvc exp run -S train.folds": "training/test_folds.py::test_a_cross_validation_is_trained_predicted_evaluated_and_bundled",
    "dvc exp run -S train.workers": "training/test_launch.py::test_two_workers_are_two_processes_that_each_did_half_the_work_and_again_give_the_same_weights",
    "dvc exp show": "test_tune.py::test_dvc_runs_a_queue_of_experiments",
    "dvc metrics": "test_dag.py::test_dvcs_own_commands_work",
    "dvc plots show": "test_dag.py::test_dvcs_own_commands_work",
    "dvc pull": "test_object_storage.py::test_data_lock_and_ledger_go_to_an_object_store_and_come_back",
    "dvc push": "test_object_storage.py::test_data_lock_and_ledger_go_to_an_object_store_and_come_back",
    "dvc remote add": "test_object_storage.py::test_data_lock_and_ledger_go_to_an_object_store_and_come_back",
    "dvc repro": "test_dag.py::test_nothing_touched_nothing_runs",
    "dvc status": "test_contact.py::test_it_takes_the_table_beside_the_images_and_writes_what_it_chose_and_why",
    "git": "test_dag.py::test_a_parameter_can_be_tried_as_an_experiment",
    "medimg audit": "test_border_audit.py::test_audit_on_the_command_line",
    "medimg cache --prune": "test_store_remote.py::test_the_command_shows_and_prunes",
    "medimg collect": "test_submit.py::test_what_was_submitted_comes_home_whole_and_once",
    "medimg compare": "test_evaluation_compare.py::test_models_are_found_in_a_study_its_artifacts_or_a_file",
    "medimg doctor": "test_doctor.py::test_the_command_prints_lines_or_json_and_fails_when_one_does",
    "medimg evaluate": "test_external.py::test_a_stranger_s_patients_are_all_predicted_at_the_frozen_threshold",
    "medimg export": "test_export.py::test_onnx_gives_the_logits_of_the_bundle_and_says_what_it_needs",
    "medimg export BUNDLE --format monai": "test_export.py::test_monai_s_own_command_gives_the_answers_of_predict",
    "medimg fetch": "test_fetch.py::test_images_are_the_publishers_and_cross_the_border_with_their_parts",
    "medimg import": "test_border.py::test_labels_cross_as_pseudonyms_classes_and_pooled_ages",
    "medimg import /path/to/pictures --each-image-is-a-patient":
        "test_border_sources.py::test_images_that_name_nobody_are_refused_unless_each_is_a_patient",
    "medimg import ../cd.tar.gz": "test_border_sources.py::test_an_archive_gives_what_its_folder_gives",
    "medimg import dicom://": "test_pacs.py::test_what_fits_the_filters_comes_and_nobody_is_named",
    "medimg import ../export.zip": "test_border_sources.py::test_an_archive_gives_what_its_folder_gives",
    "medimg import https://": "test_pacs.py::test_what_fits_the_filters_comes_and_nobody_is_named",
    "medimg import … --linkage":
        "test_border_audit.py::test_the_linkage_table_is_written_where_told_and_for_its_owner_alone",
    "medimg import … --policy": "test_border_profile.py::test_each_option_is_read_from_the_policy_file",
    "medimg jobs": "test_submit.py::test_what_was_submitted_comes_home_whole_and_once",
    "medimg lecture": "test_lecture.py::test_the_first_answers_are_the_lectures",
    "medimg logs": "test_submit.py::test_what_was_submitted_comes_home_whole_and_once",
    "medimg new": "test_study.py::test_a_new_study_has_the_pipeline_and_valid_parameters",
    "medimg new ../my-study --images":
        "test_contact.py::test_it_takes_the_table_beside_the_images_and_writes_what_it_chose_and_why",
    "medimg new STUDY --images":
        "test_contact.py::test_it_takes_the_table_beside_the_images_and_writes_what_it_chose_and_why",
    "medimg new study --images": "test_contact.py::test_parts_that_a_table_names_are_the_studys",
    "medimg new xray --images":
        "test_contact.py::test_it_takes_the_table_beside_the_images_and_writes_what_it_chose_and_why",
    "medimg predict":
        "test_predict.py::test_the_study_s_own_images_get_the_scores_of_the_predict_stage",
    "medimg receive": "test_pacs_receive.py::test_what_is_sent_is_imported_as_one_batch_when_ctrl_c_ends_it",
    "medimg result": "test_cli.py::test_a_result_that_is_not_there_says_how_to_get_it",
    "medimg retrain": "test_retrain.py::test_a_night_without_its_remote_ends_with_a_sentence_and_leaves_its_journal",
    "medimg schedule": "test_retrain.py::test_each_schedule_names_the_study_the_time_and_every_harmless_status",
    "medimg submit": "test_submit.py::test_what_was_submitted_comes_home_whole_and_once",
    "medimg submit --address https":
        "test_submit.py::test_only_who_has_the_token_is_let_in_and_tls_is_checked",
    "medimg tune": "test_tune.py::test_the_search_finds_what_learns_writes_it_and_never_reads_test",
    "python -m benchmarks.studies.medmnist": "test_medmnist.py::test_the_row_is_what_scikit_learn_says_of_the_test_part",
    "python -m monai.bundle run": "test_export.py::test_monai_s_own_command_gives_the_answers_of_predict",
    "python -m monai.bundle verify_metadata": "test_export.py::test_monai_s_own_command_gives_the_answers_of_predict",
    "python pipelines/ingest.py": "test_stage.py::test_a_misspelt_key",
    "sbatch": "test_slurm.py::test_a_study_runs_on_ray_inside_an_allocation_and_nothing_is_left",
}  # fmt: skip

PLAYED = "the nights that `make nights` plays, which takes longer than the tests have"
HOURS = "longer than the tests have; benchmarks are run by hand, on a quiet machine"
CLOUD = "an account in a cloud"
MACHINES = "other machines, to which one may log in"
NEEDS = {
    "docker build": "Docker",
    "dvc gc": "a wish to lose old data",
    "kubectl": "a Kubernetes cluster",
    "make": "the very run that holds these tests, or longer than the tests have",
    "medimg drift": PLAYED,
    "medimg history": PLAYED,
    "medimg promote": PLAYED,
    "medimg rollback": PLAYED,
    "medimg champion": PLAYED,
    "medimg retrain --anew": PLAYED,
    "pip": "the package index",
    "python -m benchmarks": HOURS,
    "python -m http.server": "somebody who looks",
    "ray up cluster/aws.yaml": CLOUD,
    "ray attach": CLOUD,
    "ray down cluster/aws.yaml": CLOUD,
    "ray": MACHINES,
    "ssh": MACHINES,
}


def said(command: str) -> str:
    """The longest key that begins the command, or the empty text."""
    return max((key for key in (*BY, *NEEDS) if command.startswith(key)), key=len, default="")
