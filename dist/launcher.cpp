#include "dist/launcher.h"

#include <cstdlib>
#include <string>

#include "ops/base/error.h"

namespace tsugi {

Launch detect_launch(const std::function<const char*(const char*)>& variable) {
  const auto number = [&](const char* name) {
    const char* text = variable(name);
    return text == nullptr ? 0 : std::atoi(text);
  };
  // Below mpirun the variables of Slurm are those of its daemon, and wrong for the rank.
  if (variable("OMPI_COMM_WORLD_SIZE") != nullptr) {
    // An explicit --bind-to is the user's decision; the default (one core each for two ranks or fewer) is not.
    const char* policy = variable("OMPI_MCA_hwloc_base_binding_policy");
    return {true, number("OMPI_COMM_WORLD_SIZE"), policy == nullptr || std::string(policy) == "none"};
  }
  const bool pmi = variable("PMIX_RANK") != nullptr || variable("PMI_RANK") != nullptr;
  if (variable("SLURM_STEP_ID") != nullptr && variable("SLURM_PROCID") != nullptr) {
    const int tasks = number("SLURM_STEP_NUM_TASKS");
    if (!pmi && tasks > 1) {
      throw Error(ExitCode::kUsage,
                  "srun started " + std::to_string(tasks) + " tasks, but each of them would be a world of 1 rank",
                  "use `srun --mpi=pmix` (`srun --mpi=list` shows what there is), or mpirun inside sbatch");
    }
    return {pmi, tasks, false};
  }
  return {pmi, number("PMI_SIZE"), false};
}

int expected_rank(const std::function<const char*(const char*)>& variable) {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (const char* text = variable(name); text != nullptr) return std::atoi(text);
  }
  return 0;
}

}  // namespace tsugi
