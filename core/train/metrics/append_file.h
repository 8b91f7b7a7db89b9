// A file that grows record by record and never ends a run.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tsugi {

/// Appends whole records: one that does not fit (full disk, quota) is taken back, so that what follows it is readable.
/// The first failure is logged as a WARNING; later records are tried again, since space may come back.
class AppendFile {
 public:
  /// Opens or creates `path`; a failure is such a WARNING, and every append then fails.
  explicit AppendFile(std::string path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Goes to the kernel at once: a killed process loses nothing. False: it was not written.
  bool append(std::string_view record);
  /// Waits until all of it is on the disk.
  void sync();

  const std::string& path() const { return path_; }

 private:
  void warn(const std::string& action);

  std::string path_;
  int descriptor_ = -1;
  bool warned_ = false;
};

}  // namespace tsugi
