// The subcommands of `tsugi sweep`.
#pragma once

#include <string>
#include <vector>

#include "launch/command_line.h"

namespace tsugi {

void add_sweep_fit(Command sweep);
void add_sweep_predict(Command sweep);
void add_sweep_report(Command sweep);
void add_sweep_run(Command sweep);  ///< plan, run, collect
void add_sweep_status(Command sweep);

/// What they share that read a sweep file: --config, --set, --json.
void add_sweep_file(Command command, std::string& config, std::vector<std::string>& overrides, bool& json);

}  // namespace tsugi
