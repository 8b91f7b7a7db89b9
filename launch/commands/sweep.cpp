#include "launch/commands/sweep.h"

#include "launch/commands/commands.h"

namespace tsugi {

void add_sweep(CLI::App& app, int& exit_code) {
  CLI::App* sweep =
      app.add_subcommand("sweep", "Scaling-law sweeps: plan and train runs, fit laws to them, predict larger ones");
  sweep->require_subcommand(1);
  add_sweep_run(*sweep, exit_code);
  add_sweep_fit(*sweep, exit_code);
  add_sweep_predict(*sweep, exit_code);
  add_sweep_report(*sweep, exit_code);
}

}  // namespace tsugi
