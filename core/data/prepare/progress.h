// What `prepare` leaves in its work folder so that it can go on after kill -9.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "core/data/prepare.h"
#include "core/data/prepare/scan.h"
#include "core/data/prepare/side_writer.h"

namespace tsugi {

/// The second pass at the start of a block.
struct EncodeState {
  int64_t next_block = 0;
  std::array<SideState, 2> sides;  ///< training, validation
  PrepareSummary::Longest longest;
  bool finished = false;  ///< all shards are; what is left is to put them into their places
};

/// The folder OUT/.work. Everything in it carries the key of the job: with another key it is thrown away.
class WorkFolder {
 public:
  /// Makes `output` and the folder. Throws Error(kUsage) when another process prepares into it.
  explicit WorkFolder(const std::string& output);
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  /// Removes what is there of another job.
  void begin(uint64_t key);
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  const std::string& folder() const { return folder_; }

  /// The scan of `files` input files, if there is one whose files are intact.
  std::optional<Scan> load_scan(size_t files) const;
  void save_scan(const Scan& scan) const;
  std::optional<EncodeState> load_progress() const;
  void save_progress(const EncodeState& state) const;
  /// Removes all but the scan.
  void discard_progress() const;

  /// Removes the folder, and `output` where this made it and nothing is in it.
  void remove();

 private:
  std::string output_;
  std::string folder_;
  std::string key_;
  bool made_output_ = false;
  int lock_ = -1;
};

}  // namespace tsugi
