//! The client of late 2017: every sequence of `rack-api.md` §7 that it knows.

use super::replay;

replay!(
    Y2017, "personal/staging":
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
    s7_10_ps_stats = ps_stats,
    s7_11_scale = scale,
    s7_13_proxy = proxy,
    s7_14_rack = rack,
    s7_14_rack_scale = rack_scale,
    s7_14_rack_update = rack_update,
    s7_15_rack_logs = rack_logs,
    s7_17_apps_delete = apps_delete,
    s7_18_login = login,
    s7_18_apps_params_set = apps_params_set,
    s7_18_apps_cancel = apps_cancel,
    s7_18_api_get = api_get,
);
