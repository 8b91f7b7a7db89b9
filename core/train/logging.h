// The log of a run: glog's messages in RUN/logs/rank-00000.log.
#pragma once

#include <memory>
#include <string>

namespace tsugi {

/// While it lives, glog's messages (INFO and above) of this process go to `run_directory`/logs/rank-RRRRR.log: one
/// file per rank, to which every attempt appends. Standard error shows rank 0's warnings and every rank's errors. No
/// signal is handled: glog's own handler would take over SIGTERM, which asks for a checkpoint here.
///
/// One per process. With "" as directory only standard error is set up.
class RunLog {
 public:
  /// Creates the folder if need be. Throws Error(kInputOutput).
  RunLog(const std::string& run_directory, int rank);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  /// "" without a directory.
  const std::string& path() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tsugi
