// The subcommands of `tsugi sweep`.
#pragma once

#include <CLI/CLI.hpp>

namespace tsugi {

void add_sweep_fit(CLI::App& sweep, int& exit_code);
void add_sweep_predict(CLI::App& sweep, int& exit_code);
void add_sweep_report(CLI::App& sweep, int& exit_code);
void add_sweep_run(CLI::App& sweep, int& exit_code);  ///< plan, run, collect, status

}  // namespace tsugi
