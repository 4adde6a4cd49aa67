//! Version 2 of the client: every sequence of `rack-api.md` §7 that it knows.

use super::replay;

replay!(
    V2, "personal/staging":
    s7_01_apps_create = apps_create,
    s7_02_build = build,
    s7_03_deploy = deploy,
    s7_04_releases_promote = releases_promote,
    s7_05_env_set = env_set,
    s7_06_run = run,
    s7_07_exec = exec,
    s7_08_logs = logs,
    s7_09_builds_export_and_import = builds_export_and_import,
    s7_10_ps = ps,
    s7_11_scale = scale,
    s7_12_resources = resources,
    s7_13_proxy = proxy,
    s7_14_rack = rack,
    s7_14_rack_scale = rack_scale,
    s7_14_rack_update = rack_update,
    s7_14_rack_params_set = rack_params_set,
    s7_15_rack_logs = rack_logs,
    s7_16_cp = cp,
    s7_17_apps_delete = apps_delete,
    s7_18_login = login,
    s7_18_restart = restart,
    s7_18_apps_params_set = apps_params_set,
    s7_18_apps_lock = apps_lock,
    s7_18_apps_cancel = apps_cancel,
    s7_18_apps_export_and_import = apps_export_and_import,
    s7_18_certs = certs,
    s7_18_registries = registries,
    s7_18_rack_resources = rack_resources,
    s7_18_start = start,
    s7_18_api_get = api_get,
);
