// Who started this process, and as one of how many.
#pragma once

#include <functional>

namespace tsugi {

/// What the environment says about the launch.
struct Launch {
  bool with_mpi = false;      ///< MPI_Init will find peers; otherwise this is a world of one
  int expected_ranks = 0;     ///< what MPI must say too; 0: unknown
  bool undo_binding = false;  ///< mpirun bound each rank to one core or package by its own default
};

/// Reads the variables of mpirun (Open MPI), srun and other PMI launchers. `variable(name)` is null where not set.
/// Throws Error(kUsage) where srun started several tasks without the PMIx that would make ranks of them.
Launch detect_launch(const std::function<const char*(const char*)>& variable);

/// Which rank the launcher says this process will be, before MPI knows; 0 where nobody says.
int expected_rank(const std::function<const char*(const char*)>& variable);

}  // namespace tsugi
