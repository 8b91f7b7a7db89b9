// Collectives on device memory over NCCL.
#pragma once

#include <memory>
#include <string>

#include "dist/communicator.h"
#include "dist/nccl_table.h"
#include "dist/nccl_watchdog.h"
#include "ops/cuda/runtime.h"

namespace tsugi {

/// What connect_nccl() came to.
struct NcclConnection {
  std::unique_ptr<Communicator> communicator;  ///< null: no rank has NCCL
  std::string description;                     ///< for the log: "NCCL 2.28.9", or why there is none
};

/// Joins the ranks of `below` with NCCL: exchange() and all_gather() take addresses of device memory and run on a
/// stream of their own, after the work that was issued to `work` before the call; strings and barriers go through
/// `below`. Sums are formed by BucketReducer from what exchange() brings, in the order of its tree: the same bits as
/// over MPI. Both arguments must outlive the result. `table`: null, with the reason, where this rank has no NCCL.
///
/// Joining is not blocking and neither is anything later: the library is asked for errors while a rank waits. Nothing
/// within `timeout_seconds`, or an error of the library, aborts NCCL and throws Error(kPeerLost), which every later
/// call throws again; the way on is that of Communicator. `on_hang` is called where twice that time has gone and the
/// host is not there to throw (nccl_watchdog.h). Collective. Throws the same Error(kUsage) on all ranks when some have
/// NCCL and others do not, or versions differ or are older than kOldestNccl, and Error(kPeerLost) when joining fails on
/// some rank.
NcclConnection connect_nccl(const NcclTable* table, const std::string& why, Communicator& below, cuda::Stream& work,
                            double timeout_seconds, NcclWatchdog::OnHang on_hang);

}  // namespace tsugi
