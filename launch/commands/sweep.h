// The subcommands of `tsugi sweep`.
#pragma once

#include "launch/command_line.h"

namespace tsugi {

void add_sweep_fit(Command sweep);
void add_sweep_predict(Command sweep);
void add_sweep_report(Command sweep);
void add_sweep_run(Command sweep);  ///< plan, run, collect, status

}  // namespace tsugi
