// NCCL's functions over shared memory, for ranks that are processes of one host and compute on emulated CUDA.
//
// Transfers go through bounded channels, one for every pair of ranks, while the emulated streams run. As unkind as the
// library may be: joining is not done when the call returns, nothing happens at once, and what is injected.
#pragma once

#include "dist/nccl_table.h"

namespace tsugi::testing {

/// Of this rank.
struct NcclFaults {
  int version = 22809;
  bool no_unique_id = false;   ///< ncclGetUniqueId fails
  bool never_joins = false;    ///< this rank does not come
  double delay_seconds = 0.0;  ///< before a group's transfers begin
  int error_in_group = 0;      ///< the n-th group (1 is the first) ends in an asynchronous error; 0: none
  int stop_in_group = 0;       ///< the n-th group and all after it never move a byte; 0: none
  int refuse_in_group = 0;     ///< ncclSend of the n-th group fails; 0: none
};

/// How the library was left.
struct NcclEnd {
  int finalized = 0, destroyed = 0, aborted = 0;
  bool in_group = false;  ///< aborted between the beginning and the end of a group
};

NcclFaults& nccl_faults();
const NcclEnd& nccl_end();
const NcclTable& shared_memory_nccl();

}  // namespace tsugi::testing
