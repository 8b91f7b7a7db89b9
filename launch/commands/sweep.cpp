#include "launch/commands/sweep.h"

#include "launch/commands/commands.h"

namespace tsugi {

void add_sweep(Command app) {
  Command sweep =
      app.subcommand("sweep", "Scaling-law sweeps: plan and train runs, fit laws to them, predict larger ones");
  sweep.require_subcommand();
  add_sweep_run(sweep);
  add_sweep_status(sweep);
  add_sweep_fit(sweep);
  add_sweep_predict(sweep);
  add_sweep_report(sweep);
}

}  // namespace tsugi
